"""Reductions over axes, and running sums along one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import (
    axes_of,
    axis_of,
    has_attr,
    int_attr,
    ints_attr,
    scalar_int,
)
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operation, Operations, Outputs
from colonnade.reference.precision import mean, narrow, wide

Reduction = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


def reduction_axes(node: Node, x: np.ndarray, axes: np.ndarray | None) -> tuple[int, ...] | None:
    """The axes to reduce; None when the node is a no-op."""
    chosen = axes_of(ints_attr(node, "axes"), x.ndim) if has_attr(node, "axes") else ()
    if axes is not None:
        chosen = axes_of(axes, x.ndim)
    if chosen:
        return chosen
    return None if int_attr(node, "noop_with_empty_axes", 0) else tuple(range(x.ndim))


def _reduce(
    function: Reduction, before: Callable[[np.ndarray], np.ndarray] | None = None
) -> Operation:
    """`before` is what an empty list of axes still does to the elements."""

    def evaluate(node: Node, x: np.ndarray, axes: np.ndarray | None = None) -> Outputs:
        chosen = reduction_axes(node, x, axes)
        if chosen is None:
            return (narrow(before(wide(x)), x.dtype) if before else x,)
        result = function(wide(x), chosen)
        if not int_attr(node, "keepdims", 1):
            result = np.squeeze(result, chosen)
        return (narrow(result, x.dtype),)

    return evaluate


def log_sum_exp(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """log(sum(exp(x))) without overflow, kept dimensions."""
    x = x.astype(np.float64)
    top = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(top), top, 0)
    return np.asarray(np.log(np.sum(np.exp(x - shift), axis=axes, keepdims=True)) + shift)


def _sum(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.sum(x, axis=axes, keepdims=True, dtype=x.dtype))


def _extreme(x: np.ndarray, axes: tuple[int, ...], largest: bool) -> np.ndarray:
    """Of nothing, it is the far end of the type."""
    if x.dtype.kind == "f":
        start: float = -np.inf if largest else np.inf
    elif x.dtype.kind == "b":
        start = not largest
    else:
        start = np.iinfo(x.dtype).min if largest else np.iinfo(x.dtype).max
    function = np.max if largest else np.min
    return np.asarray(function(x, axis=axes, keepdims=True, initial=start))


def _mean(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    if x.dtype.kind == "f":
        return mean(x, axes)
    count = int(np.prod([x.shape[axis] for axis in axes]))
    return np.asarray(np.trunc(np.sum(x, axis=axes, keepdims=True) / count))


def _float_log(x: np.ndarray) -> np.ndarray:
    return np.log(x.astype(np.float64))


def _cumulative(is_sum: bool) -> Operation:
    def evaluate(node: Node, x: np.ndarray, axis_operand: np.ndarray) -> Outputs:
        axis = axis_of(scalar_int(axis_operand), x.ndim)
        is_reverse = bool(int_attr(node, "reverse", 0))
        values = np.flip(wide(x), axis) if is_reverse else wide(x)
        if is_sum:
            result = np.cumsum(values, axis, dtype=values.dtype)
        else:
            result = np.cumprod(values, axis, dtype=values.dtype)
        if int_attr(node, "exclusive", 0) and x.shape[axis]:
            first = np.full_like(result.take([0], axis), 0 if is_sum else 1)
            rest = result.take(range(x.shape[axis] - 1), axis)
            result = np.concatenate([first, rest], axis)
        return (narrow(np.flip(result, axis) if is_reverse else result, x.dtype),)

    return evaluate


def arg_extreme(x: np.ndarray, axis: int, *, largest: bool, last: bool) -> np.ndarray:
    """Index of the extreme along an axis, kept as a dimension of 1."""
    if x.shape[axis] == 0:
        raise EvaluationError("no extreme of an empty axis")
    values = np.flip(x, axis) if last else x
    found = (np.argmax if largest else np.argmin)(values, axis, keepdims=True)
    return np.asarray(x.shape[axis] - 1 - found if last else found, np.int64)


def _arg(largest: bool) -> Operation:
    def evaluate(node: Node, x: np.ndarray) -> Outputs:
        axis = axis_of(int_attr(node, "axis", 0), x.ndim)
        last = bool(int_attr(node, "select_last_index", 0))
        found = arg_extreme(x, axis, largest=largest, last=last)
        return (found if int_attr(node, "keepdims", 1) else np.squeeze(found, axis),)

    return evaluate


OPS: Operations = {
    ("", "ReduceSum"): _reduce(_sum),
    ("", "ReduceMean"): _reduce(_mean),
    ("", "ReduceMax"): _reduce(lambda x, axes: _extreme(x, axes, True)),
    ("", "ReduceMin"): _reduce(lambda x, axes: _extreme(x, axes, False)),
    ("", "ReduceProd"): _reduce(
        lambda x, axes: np.prod(x, axis=axes, keepdims=True, dtype=x.dtype)
    ),
    ("", "ReduceL1"): _reduce(lambda x, axes: _sum(np.abs(x), axes), np.abs),
    ("", "ReduceL2"): _reduce(lambda x, axes: np.sqrt(_sum(x * x, axes)), np.abs),
    ("", "ReduceSumSquare"): _reduce(lambda x, axes: _sum(x * x, axes), np.square),
    ("", "ReduceLogSum"): _reduce(lambda x, axes: _float_log(_sum(x, axes)), _float_log),
    ("", "ReduceLogSumExp"): _reduce(log_sum_exp),
    ("", "CumSum"): _cumulative(is_sum=True),
    ("", "CumProd"): _cumulative(is_sum=False),
    ("", "ArgMax"): _arg(largest=True),
    ("", "ArgMin"): _arg(largest=False),
}
