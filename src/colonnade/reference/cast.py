"""Conversions between element types."""

from __future__ import annotations

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import dtype_attr
from colonnade.reference.failure import EvaluationError, UnsupportedNodeError
from colonnade.reference.operation import Operations, Outputs


def cast(x: np.ndarray, dtype: np.dtype[np.generic]) -> np.ndarray:
    """Truncates floats toward zero; out-of-range values are whatever the CPU gives."""
    if x.dtype.kind == "O" or dtype.kind == "O":
        return _cast_text(x, dtype)
    return x.astype(dtype, copy=False)


def _cast_text(x: np.ndarray, dtype: np.dtype[np.generic]) -> np.ndarray:
    """Strings to numbers and back; only plain decimal forms."""
    if x.dtype == dtype:
        return x
    if dtype.kind == "O":
        raise UnsupportedNodeError("the text form of a number is not defined exactly")
    if dtype.kind not in "fiu":
        raise UnsupportedNodeError(f"text to {dtype}")
    return np.array([float(text) for text in x.reshape(-1)]).astype(dtype).reshape(x.shape)


def _cast(node: Node, x: np.ndarray) -> Outputs:
    return (cast(x, dtype_attr(node, "to", x.dtype)),)


def _cast_like(node: Node, x: np.ndarray, like: np.ndarray) -> Outputs:
    del node
    return (cast(x, like.dtype),)


def _bit_cast(node: Node, x: np.ndarray) -> Outputs:
    dtype = dtype_attr(node, "to", x.dtype)
    if dtype.itemsize != x.dtype.itemsize or dtype.kind == "O":
        raise EvaluationError(f"BitCast from {x.dtype} to {dtype}: the widths differ")
    return (x.view(dtype),)


OPS: Operations = {
    ("", "Cast"): _cast,
    ("", "CastLike"): _cast_like,
    ("", "BitCast"): _bit_cast,
}
