"""export_model(): a Graph, or a part of one, as an ONNX model that ONNX Runtime can run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from colonnade.errors import ModelError
from colonnade.ir import Graph, Node, captures
from colonnade.onnx import attributes
from colonnade.onnx.schemas import ML_DOMAIN, ONNX_DOMAIN, find_schema
from colonnade.onnx.tensors import elem_type_of, numpy_of, to_tensor
from colonnade.onnx.types import OpaqueType, to_type_proto

IR_VERSION = 10
MAX_MESSAGE_BYTES = (1 << 31) - (1 << 20)
"""Of constants inside the model: protobuf refuses 2 GiB, and the structure needs some."""
_PAGE_BYTES = 4096


def export_model(graph: Graph) -> bytes:
    """The graph as a serialised ModelProto, with the constants that its nodes read.

    Raises ModelError for a model above 2 GiB (see `save_model`), or an input whose type is not
    known; ValueError for a node of the "colonnade" domain, which has no ONNX form.
    """
    used = _used_constants(graph)
    size = sum(array.nbytes for array in used.values())
    if size > MAX_MESSAGE_BYTES:
        raise ModelError(f"its constants take {size} bytes; one message holds at most 2 GiB")
    model = _structure(graph)
    for name, array in used.items():
        model.graph.initializer.append(_to_tensor(graph, name, array))
    return bytes(model.SerializeToString())


def save_model(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write the graph to a file; above 2 GiB the constants go to `<path>.data` beside it."""
    target = Path(path)
    used = _used_constants(graph)
    if sum(array.nbytes for array in used.values()) <= MAX_MESSAGE_BYTES:
        target.write_bytes(export_model(graph))
        return
    model = _structure(graph)
    data = target.with_name(target.name + ".data")
    with data.open("wb") as file:
        for name, array in used.items():
            if array.dtype.kind in "OSU" or array.nbytes < _PAGE_BYTES:
                model.graph.initializer.append(_to_tensor(graph, name, array))
                continue
            file.seek(-(-file.tell() // _PAGE_BYTES) * _PAGE_BYTES)
            offset = file.tell()
            raw = _to_tensor(graph, name, array)
            file.write(raw.raw_data)
            entries = {"location": data.name, "offset": offset, "length": len(raw.raw_data)}
            tensor = model.graph.initializer.add(
                name=name,
                data_type=raw.data_type,
                dims=array.shape,
                data_location=TensorProto.EXTERNAL,
            )
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
    target.write_bytes(model.SerializeToString())


def _structure(graph: Graph) -> ModelProto:
    """The model without its constants."""
    model = ModelProto(ir_version=IR_VERSION, producer_name="colonnade")
    versions = {ONNX_DOMAIN: 1} | dict(graph.opsets)
    for node in graph.nodes:
        versions.setdefault(node.domain, node.version or 1)
    for domain, version in versions.items():
        model.opset_import.add(domain=domain, version=version)
    model.graph.name = graph.name or "graph"
    for node in graph.nodes:
        _add_node(model.graph, node, versions)
    for name in graph.inputs:
        value = _value_info(graph, name)
        if not value.HasField("type"):
            raise ModelError(
                f"value {name!r} enters a part of the model that ONNX Runtime has to run, "
                "but its element type is not known; declare it in value_info"
            )
        model.graph.input.append(value)
    model.graph.output.extend(_value_info(graph, name) for name in graph.outputs)
    return model


def _add_node(graph: GraphProto, node: Node, versions: dict[str, int]) -> None:
    if node.domain == "colonnade":
        raise ValueError(f"{node} has no ONNX form")
    made = graph.node.add(
        op_type=node.op, domain=node.domain, name=node.name, input=node.inputs, output=node.outputs
    )
    is_known = node.domain in (ONNX_DOMAIN, ML_DOMAIN)
    schema = find_schema(node.op, node.domain, versions[node.domain]) if is_known else None
    attributes.add_attributes(made, node.attrs, schema)


def _value_info(graph: Graph, name: str) -> ValueInfoProto:
    made = ValueInfoProto(name=name)
    known = graph.types.get(name)
    if known is not None and (elem_type_of(known.dtype) or isinstance(known, OpaqueType)):
        made.type.CopyFrom(to_type_proto(known))
    return made


def _used_constants(graph: Graph) -> dict[str, np.ndarray]:
    """The constants that nodes, bodies or graph outputs read, in order of first use."""
    read: Iterable[str] = (name for node in graph.nodes for name in (*node.inputs, *captures(node)))
    names = dict.fromkeys((*read, *graph.outputs))
    made = {out for node in graph.nodes for out in node.outputs} | set(graph.inputs)
    return {
        name: graph.constants[name]
        for name in names
        if name in graph.constants and name not in made
    }


def _to_tensor(graph: Graph, name: str, array: np.ndarray) -> TensorProto:
    """The initializer, of the type that the graph says: bits may be stored as another."""
    wanted = elem_type_of(graph.dtype(name))
    if wanted and array.dtype.kind not in "OSU" and numpy_of(wanted) != array.dtype:
        array = array.view(numpy_of(wanted))
    return to_tensor(array, name)
