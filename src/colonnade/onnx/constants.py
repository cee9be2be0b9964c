"""Change constants of a model file and leave everything else as it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

TENSOR_METADATA_IR = 10
"""The first version of the format whose tensors have metadata."""

Source = str | os.PathLike[str] | bytes | ModelProto


def load_proto(source: Source) -> ModelProto:
    """The model as protobuf, external data included; for a file that `import_model` accepted."""
    if isinstance(source, ModelProto):
        made = ModelProto()
        made.CopyFrom(source)
        return made
    if isinstance(source, bytes):
        return onnx.load_model_from_string(source)
    return onnx.load(os.fspath(source))


def constant_names(model: ModelProto) -> frozenset[str]:
    """Values whose float32 data `replace_constants` can change."""
    return frozenset(name for name, _ in _tensors(model))


def replace_constants(
    model: ModelProto,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    by_tensor: Mapping[str, Mapping[str, str]],
) -> None:
    """Put new float32 data into constants of the same shapes, and entries into the metadata: of the
    model, and of tensors by their names where the file's version of ONNX knows such."""
    tensors = dict(_tensors(model))
    for name, array in arrays.items():
        tensor = tensors[name]
        if tuple(tensor.dims) != array.shape:
            raise AssertionError(f"{name}: {list(array.shape)} for {list(tensor.dims)}")
        made = numpy_helper.from_array(np.ascontiguousarray(array, np.float32))
        tensor.ClearField("float_data")
        tensor.raw_data = made.raw_data
    _set_entries(model, metadata)
    if model.ir_version >= TENSOR_METADATA_IR:
        for name, entries in by_tensor.items():
            _set_entries(tensors[name], entries)


def metadata_of(model: ModelProto, key: str) -> str:
    """An entry of the model's metadata; "" where there is none."""
    return next((entry.value for entry in model.metadata_props if entry.key == key), "")


def _set_entries(owner: ModelProto | TensorProto, entries: Mapping[str, str]) -> None:
    props = owner.metadata_props
    for key, value in entries.items():
        entry = next((e for e in props if e.key == key), None)
        entry = props.add(key=key) if entry is None else entry
        entry.value = value


def _tensors(model: ModelProto) -> Iterator[tuple[str, TensorProto]]:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            yield tensor.name, tensor
    for node in model.graph.node:
        if node.op_type != "Constant":
            continue
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
                yield node.output[0], attribute.t
