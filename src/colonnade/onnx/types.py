"""TypeProto to TensorType and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from onnx import TensorShapeProto, TypeProto

from colonnade.ir import Dim, DType, TensorType
from colonnade.onnx.tensors import dtype_of, elem_type_of

_NAMELESS = frozenset(("", "?", "None", "-1", "unk"))
"""Dimension names with which exporters say that nothing is known."""


@dataclass(frozen=True, slots=True)
class OpaqueType(TensorType):
    """A type that TensorType cannot express (a sequence, int4, ...), kept for the exporter."""

    proto: bytes = b""


def from_type_proto(declared: TypeProto) -> TensorType:
    """The type; an OpaqueType where the IR has no equal."""
    kind = declared.WhichOneof("value")
    if kind is None:
        return TensorType(DType.OTHER, None)
    if kind != "tensor_type":
        return OpaqueType(DType.OTHER, None, declared.SerializeToString())
    tensor = declared.tensor_type
    shape = tuple(map(_dim, tensor.shape.dim)) if tensor.HasField("shape") else None
    dtype = dtype_of(tensor.elem_type)
    if dtype is DType.OTHER and tensor.elem_type:
        return OpaqueType(dtype, shape, declared.SerializeToString())
    return TensorType(dtype, shape)


@lru_cache(maxsize=1 << 14)
def to_type_proto(known: TensorType) -> TypeProto:
    """The TypeProto, shared: do not change it. Empty when the element type is not known."""
    made = TypeProto()
    if isinstance(known, OpaqueType):
        made.ParseFromString(known.proto)
        return made
    elem_type = elem_type_of(known.dtype)
    if elem_type == 0:
        return made
    made.tensor_type.elem_type = elem_type
    if known.shape is not None:
        made.tensor_type.shape.SetInParent()
        for dim in known.shape:
            entry = made.tensor_type.shape.dim.add()
            if isinstance(dim, str):
                entry.dim_param = dim
            elif dim is not None:
                entry.dim_value = dim
    return made


def _dim(dim: TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        value = int(dim.dim_value)
        return value if value >= 0 else None
    name = str(dim.dim_param)
    return None if name in _NAMELESS else name
