"""Comparisons, logic, bits, and selection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import axis_of, has_attr, int_attr, str_attr
from colonnade.reference.budget import reserve_broadcast
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operation, Operations, Outputs
from colonnade.reference.precision import narrow

Binary = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _compare(function: Binary) -> Operation:
    def evaluate(node: Node, a: np.ndarray, b: np.ndarray) -> Outputs:
        if node.version < 7 and has_attr(node, "axis"):
            start = axis_of(int_attr(node, "axis"), a.ndim)
            b = b.reshape(b.shape + (1,) * (a.ndim - start - b.ndim))
        reserve_broadcast(a, b)
        return (narrow(function(a, b), np.bool_),)

    return evaluate


def _bits(function: Binary) -> Operation:
    def evaluate(node: Node, a: np.ndarray, b: np.ndarray) -> Outputs:
        del node
        reserve_broadcast(a, b)
        return (narrow(function(a, b), a.dtype),)

    return evaluate


def _bit_shift(node: Node, a: np.ndarray, b: np.ndarray) -> Outputs:
    """A shift by the width or more leaves the sign's fill alone."""
    reserve_broadcast(a, b)
    bits = a.dtype.itemsize * 8
    is_inside = (b >= 0) & (b < bits)
    amount = np.where(is_inside, b, 0).astype(a.dtype)
    direction = str_attr(node, "direction")
    if direction == "LEFT":
        return (np.where(is_inside, np.left_shift(a, amount), 0).astype(a.dtype),)
    if direction != "RIGHT":
        raise EvaluationError(f"direction {direction!r} is neither LEFT nor RIGHT")
    fill = np.where(a < 0, -1, 0)
    return (np.where(is_inside, np.right_shift(a, amount), fill).astype(a.dtype),)


def _not(node: Node, x: np.ndarray) -> Outputs:
    del node
    return (np.logical_not(x),)


def _bitwise_not(node: Node, x: np.ndarray) -> Outputs:
    del node
    return (np.bitwise_not(x),)


def _where(node: Node, condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> Outputs:
    del node
    reserve_broadcast(a, b, condition)
    return (narrow(np.where(condition, a, b), a.dtype),)


def _is_nan(node: Node, x: np.ndarray) -> Outputs:
    del node
    return (np.isnan(x),)


def _is_inf(node: Node, x: np.ndarray) -> Outputs:
    positive = np.isposinf(x) if int_attr(node, "detect_positive", 1) else np.bool_(False)
    negative = np.isneginf(x) if int_attr(node, "detect_negative", 1) else np.bool_(False)
    return (np.broadcast_to(positive | negative, x.shape),)


OPS: Operations = {
    ("", "Equal"): _compare(np.equal),
    ("", "Greater"): _compare(np.greater),
    ("", "GreaterOrEqual"): _compare(np.greater_equal),
    ("", "Less"): _compare(np.less),
    ("", "LessOrEqual"): _compare(np.less_equal),
    ("", "And"): _compare(np.logical_and),
    ("", "Or"): _compare(np.logical_or),
    ("", "Xor"): _compare(np.logical_xor),
    ("", "Not"): _not,
    ("", "BitwiseAnd"): _bits(np.bitwise_and),
    ("", "BitwiseOr"): _bits(np.bitwise_or),
    ("", "BitwiseXor"): _bits(np.bitwise_xor),
    ("", "BitwiseNot"): _bitwise_not,
    ("", "BitShift"): _bit_shift,
    ("", "Where"): _where,
    ("", "IsNaN"): _is_nan,
    ("", "IsInf"): _is_inf,
}
