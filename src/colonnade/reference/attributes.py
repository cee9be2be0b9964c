"""Typed reading of a node's attributes, and of axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import numpy as np

from colonnade.ir import DType, Node
from colonnade.reference.failure import EvaluationError, UnsupportedNodeError

_ONNX_TYPES = (
    None, DType.FLOAT32, DType.UINT8, DType.INT8, DType.UINT16, DType.INT16, DType.INT32,
    DType.INT64, DType.STRING, DType.BOOL, DType.FLOAT16, DType.FLOAT64, DType.UINT32,
    DType.UINT64, DType.COMPLEX64, DType.COMPLEX128,
)  # fmt: skip


def has_attr(node: Node, name: str) -> bool:
    """True when the attribute is written on the node."""
    return name in node.attrs


def int_attr(node: Node, name: str, default: int | None = None) -> int:
    """An integer; without a default it is required."""
    value = node.attrs.get(name, default)
    return value if isinstance(value, int) else _refuse(name, "an integer")


def float_attr(node: Node, name: str, default: float | None = None) -> float:
    """A number; without a default it is required."""
    value = node.attrs.get(name, default)
    return float(value) if isinstance(value, int | float) else _refuse(name, "a number")


def str_attr(node: Node, name: str, default: str | None = None) -> str:
    """A string; without a default it is required."""
    value = node.attrs.get(name, default)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else _refuse(name, "a string")


def ints_attr(node: Node, name: str, default: Iterable[int] | None = None) -> tuple[int, ...]:
    """A list of integers; without a default it is required."""
    value = node.attrs.get(name, None if default is None else tuple(default))
    if isinstance(value, tuple) and all(isinstance(item, int) for item in value):
        return tuple(int(item) for item in value)
    return _refuse(name, "a list of integers")


def floats_attr(node: Node, name: str, default: Iterable[float] | None = None) -> tuple[float, ...]:
    """A list of numbers; without a default it is required."""
    value = node.attrs.get(name, None if default is None else tuple(default))
    if isinstance(value, tuple) and all(isinstance(item, int | float) for item in value):
        return tuple(float(item) for item in value)
    return _refuse(name, "a list of numbers")


def strs_attr(node: Node, name: str, default: Iterable[str] | None = None) -> tuple[str, ...]:
    """A list of strings; without a default it is required."""
    value = node.attrs.get(name, None if default is None else tuple(default))
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return tuple(str(item) for item in value)
    return _refuse(name, "a list of strings")


def tensor_attr(node: Node, name: str) -> np.ndarray:
    """A tensor, required."""
    value = node.attrs.get(name)
    return value if isinstance(value, np.ndarray) else _refuse(name, "a tensor")


def dtype_attr(node: Node, name: str, default: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """An element type, written as ONNX's number."""
    if name not in node.attrs:
        return default
    number = int_attr(node, name)
    known = _ONNX_TYPES[number] if 0 < number < len(_ONNX_TYPES) else None
    if known is None:
        raise UnsupportedNodeError(f"element type {number} has no numpy equivalent")
    return known.numpy


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the front; refuses one outside [-rank, rank)."""
    if not -rank <= axis < rank:
        raise EvaluationError(f"axis {axis} is outside rank {rank}")
    return axis % rank


def axes_of(axes: Iterable[int] | np.ndarray, rank: int) -> tuple[int, ...]:
    """Distinct axes counted from the front."""
    out = tuple(axis_of(int(axis), rank) for axis in np.asarray(axes).reshape(-1).tolist())
    if len(set(out)) != len(out):
        raise EvaluationError(f"axes {list(out)} repeat")
    return out


def scalar_int(array: np.ndarray) -> int:
    """The only element of an integer operand."""
    if array.size != 1:
        raise EvaluationError(f"expected one element, got shape {list(array.shape)}")
    return int(array.reshape(-1)[0])


def int_list(array: np.ndarray) -> list[int]:
    """The elements of an integer operand."""
    return [int(item) for item in array.reshape(-1).tolist()]


def _refuse(name: str, kind: str) -> NoReturn:
    raise EvaluationError(f"attribute {name!r} must be {kind}")
