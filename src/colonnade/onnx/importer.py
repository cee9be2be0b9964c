"""import_model(): from an ONNX file to a Graph.

The file is parted into structure and weights (wire.py), the structure is parsed and validated
(validate.py), local functions are inlined, and every node becomes an IR node of the same operator.
Weights are read once, each into an array of its own. Constants are not folded here: the numpy
reference does that when the graph is bound to input shapes, under a budget that holds before it
allocates.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from colonnade.errors import ModelError
from colonnade.ir import AttrValue, DType, Graph, Node, TensorType, is_static
from colonnade.onnx import attributes
from colonnade.onnx.budget import Budget
from colonnade.onnx.external import ExternalFolder
from colonnade.onnx.parser import parse_structure, serialise
from colonnade.onnx.schemas import ONNX_DOMAIN
from colonnade.onnx.scopes import bodies, node_label, resolve
from colonnade.onnx.source import BytesSource, Source, open_file
from colonnade.onnx.tensors import TensorReader, dtype_of, to_tensor
from colonnade.onnx.types import from_type_proto
from colonnade.onnx.upgrade import OLDEST_OPSET, inline_functions, upgrade_opset
from colonnade.onnx.validate import (
    normal_domain,
    opset_versions,
    validate_model,
)
from colonnade.onnx.wire import Payload, Payloads, SplitModel, split_model

ModelSource = str | os.PathLike[str] | bytes | bytearray | memoryview | ModelProto

_UNKNOWN = TensorType(DType.OTHER, None)
_DEFAULT_BUDGET = Budget()


def import_model(
    source: ModelSource,
    *,
    budget: Budget = _DEFAULT_BUDGET,
    custom_domains: Collection[str] = (),
    oldest_opset: int = OLDEST_OPSET,
) -> Graph:
    """Read an ONNX model: a path, the bytes of one, or a ModelProto.

    External data is read from the folder of a path only. Initializers that are also graph inputs
    count as constants. `custom_domains`: domains of operators that the user registered. A model
    older than `oldest_opset` is converted to it. Raises ModelError, within the budget, for anything
    that cannot be imported.
    """
    with _open(source) as (model_source, folder):
        split = split_model(model_source, budget)
        model = parse_structure(split.structure, budget)
        reader = TensorReader(model_source, folder, budget)
        payloads = _by_name(model, split)
        validate_model(model, reader, payloads, budget, custom_domains)
        folder.check_overlaps()
        rewritten = upgrade_opset(inline_functions(model), oldest_opset)
        if rewritten is not model:  # attributes that a function was called with are in place now
            validate_model(rewritten, reader, payloads, budget, custom_domains)
        return _Importer(rewritten, reader, payloads, budget).graph()


@contextmanager
def _open(source: ModelSource) -> Iterator[tuple[Source, ExternalFolder]]:
    if isinstance(source, ModelProto):
        source = serialise(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        with ExternalFolder(None) as folder:
            yield BytesSource(source), folder
        return
    if not isinstance(source, (str, os.PathLike)):
        raise ModelError(
            f"a {type(source).__name__} is no model; give a path, bytes or an onnx.ModelProto"
        )
    path = os.fspath(source)
    with open_file(path) as file, ExternalFolder(str(Path(path).parent)) as folder:
        yield file, folder


def _by_name(model: ModelProto, split: SplitModel) -> dict[str, Payloads]:
    """The payloads by the name of the value; names that are not unique are refused later."""
    graph = model.graph
    found = {graph.initializer[i].name: payloads for i, payloads in split.initializers.items()}
    for i, payloads in split.constants.items():
        found.update((name, payloads) for name in graph.node[i].output[:1])
    return found


class _Importer:
    """Makes the Graph of one validated model."""

    def __init__(
        self,
        model: ModelProto,
        reader: TensorReader,
        payloads: Mapping[str, Payloads],
        budget: Budget,
    ) -> None:
        self._model = model
        self._reader = reader
        self._payloads = payloads
        self._scope = resolve(model.graph, budget)
        self._versions = opset_versions(model, budget)
        self._types: dict[str, TensorType] = {}
        self._constants: dict[str, np.ndarray] = {}

    def graph(self) -> Graph:
        """Start reading here."""
        graph = self._model.graph
        for value in (*graph.value_info, *graph.output, *graph.input):
            if value.HasField("type"):
                self._types[value.name] = from_type_proto(value.type)
        inputs = self._add_initializers(graph)
        for name in inputs:
            self._types.setdefault(name, _UNKNOWN)
        nodes = [
            self._node(graph.node[i], i)
            for i in self._scope.order
            if not self._lift_constant(graph.node[i])
        ]
        return Graph(
            name=graph.name if isinstance(graph.name, str) else "",
            inputs=inputs,
            outputs=tuple(value.name for value in graph.output),
            nodes=tuple(nodes),
            types=self._types,
            constants=self._constants,
            opsets=self._versions,
            metadata={entry.key: _as_text(entry.value) for entry in self._model.metadata_props},
        )

    def _add_initializers(self, graph: GraphProto) -> tuple[str, ...]:
        """Read the initializers that anything reads; returns the inputs that are left."""
        read = {name for node in graph.node for name in node.input}
        read.update(name for names in self._scope.captures.values() for name in names)
        read.update(value.name for value in graph.output)
        names = set()
        for tensor in graph.initializer:
            names.add(tensor.name)
            if tensor.name in read:
                array = self._reader.read(tensor, self._payload(tensor.name))
                self._add_constant(tensor.name, array, dtype_of(tensor.data_type))
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            names.add(name)
            if name in read:
                self._add_constant(
                    name, self._reader.read_sparse(sparse), dtype_of(sparse.values.data_type)
                )
        return tuple(value.name for value in graph.input if value.name not in names)

    def _add_constant(self, name: str, array: np.ndarray, dtype: DType) -> None:
        self._constants[name] = array
        self._types[name] = TensorType(dtype, array.shape)

    def _lift_constant(self, node: NodeProto) -> bool:
        """Make a Constant node's value a constant of the graph."""
        if node.op_type != "Constant" or normal_domain(node.domain) != ONNX_DOMAIN:
            return False
        for attribute in node.attribute:
            value = self._constant_value(attribute, self._payload(node.output[0]))
            if value is not None:
                self._add_constant(node.output[0], *value)
                return True
        raise ModelError("it has no value", node=node.name, op=node.op_type)

    def _payload(self, name: str) -> Payload | None:
        found = self._payloads.get(name)
        return found[0] if found else None

    def _constant_value(
        self, attribute: AttributeProto, payload: Payload | None
    ) -> tuple[np.ndarray, DType] | None:
        name = attribute.name
        if name == "value":
            return self._reader.read(attribute.t, payload), dtype_of(attribute.t.data_type)
        if name == "sparse_value":
            sparse = attribute.sparse_tensor
            return self._reader.read_sparse(sparse), dtype_of(sparse.values.data_type)
        if name in ("value_int", "value_ints"):
            ints = attribute.i if name == "value_int" else attribute.ints
            return np.array(ints, np.int64), DType.INT64
        if name in ("value_float", "value_floats"):
            floats = attribute.f if name == "value_float" else attribute.floats
            return np.array(floats, np.float32), DType.FLOAT32
        if name in ("value_string", "value_strings"):
            given = [attribute.s] if name == "value_string" else attribute.strings
            tensor = TensorProto(data_type=TensorProto.STRING, string_data=given)
            tensor.dims.extend(() if name == "value_string" else (len(given),))
            return self._reader.read(tensor), DType.STRING
        return None

    def _node(self, node: NodeProto, index: int) -> Node:
        domain = normal_domain(node.domain)
        for body in bodies(node):
            self._embed(body)
        captures = self._scope.captures.get(index, ())
        # An operator of this name in another domain: its tensor may be in the file, too.
        payload = self._payload(node.output[0]) if node.op_type == "Constant" else None
        attrs: dict[str, AttrValue] = {
            attribute.name: attributes.from_proto(attribute, self._reader, captures, payload)
            for attribute in node.attribute
        } | attributes.from_metadata(node)
        self._type_outputs(node)
        return Node(
            op=node.op_type,
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attrs=attrs,
            name=node_label(node, index),
            domain=domain,
            version=self._versions.get(domain, 1),
        )

    def _type_outputs(self, node: NodeProto) -> None:
        """Declared types; for an output of a body without one, the element type that it has."""
        inner = list(bodies(node))
        first = 1 if node.op_type == "Loop" else 0  # a loop's body returns its condition first
        for i, name in enumerate(node.output):
            if not name or name in self._types:
                continue
            found = {
                from_type_proto(body.output[i + first].type)
                for body in inner
                if i + first < len(body.output)
            }
            known = _join(found)
            # A loop may change shapes from one iteration to the next, and stacks others.
            self._types[name] = known if node.op_type == "If" else replace(known, shape=None)

    def _embed(self, body: GraphProto) -> None:
        """Put external data into a body, which is kept as bytes."""
        for tensor in body.initializer:
            self._embed_tensor(tensor)
        for node in body.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR:
                    self._embed_tensor(attribute.t)
            for inner in bodies(node):
                self._embed(inner)

    def _embed_tensor(self, tensor: TensorProto) -> None:
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.CopyFrom(to_tensor(self._reader.read(tensor), tensor.name))


def _join(types: set[TensorType]) -> TensorType:
    """The type of a value that is one of these."""
    if len(types) == 1:
        (only,) = types
        return only if is_static(only.shape) else replace(only, shape=None)
    dtypes = {known.dtype for known in types}
    return TensorType(dtypes.pop(), None) if len(dtypes) == 1 else _UNKNOWN


def _as_text(value: str | bytes) -> str:
    """Metadata that is not UTF-8 comes as bytes."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
