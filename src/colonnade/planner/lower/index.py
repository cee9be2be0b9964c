"""Operators that read or write by index, order an axis, or choose between tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from colonnade.ir import DType, Node
from colonnade.planner.choice import Choice, In, Lowering, Operand, Out, View
from colonnade.planner.element import ELEMENT_CODE, MOVABLE_BYTES, NUMERIC
from colonnade.planner.lower.attributes import (
    axis_of,
    constant_integers,
    integer,
    text,
)
from colonnade.planner.lower.moves import NO_ELEMENTS
from colonnade.planner.plan import Param
from colonnade.planner.strides import MAX_RANK, Walk, broadcast, row_major, space_params

_INDEX_TYPES = (DType.INT32, DType.INT64)
_REDUCTIONS = {"none": 0, "add": 1, "mul": 2, "min": 3, "max": 4}


def _movable(view: View, value: str) -> str:
    """Why items of the value cannot be moved; empty when they can."""
    dtype = view.dtype(value)
    return "" if dtype.itemsize in MOVABLE_BYTES else f"element type {dtype.value}"


def _is_empty(view: View, output: str) -> bool:
    return math.prod(view.shape(output)) == 0


def lower_gather(node: Node, view: View) -> Choice | str:
    """Along one axis; an embedding is axis 0."""
    data, indices, output = node.inputs[0], node.inputs[1], node.outputs[0]
    shape = view.shape(data)
    if reason := _movable(view, data):
        return reason
    if view.dtype(indices) not in _INDEX_TYPES:
        return f"indices of type {view.dtype(indices).value}"
    if _is_empty(view, output):
        return NO_ELEMENTS
    axis = axis_of(node, 0, len(shape))
    row_bytes = math.prod(shape[axis + 1 :]) * view.dtype(data).itemsize
    params = (
        ELEMENT_CODE[view.dtype(indices)], math.prod(shape[:axis]), shape[axis],
        math.prod(view.shape(indices)), row_bytes,
    )  # fmt: skip
    why = f"axis {axis}, rows of {row_bytes} bytes"
    return Choice("gather", (In(data), In(indices), Out(output)), params, why)


def lower_gather_elements(node: Node, view: View) -> Choice | str:
    """One index per element."""
    data, indices, output = node.inputs[0], node.inputs[1], node.outputs[0]
    if reason := _movable(view, data):
        return reason
    if _is_empty(view, output):
        return NO_ELEMENTS
    axis = axis_of(node, 0, len(view.shape(data)))
    along = _along_axis(view, data, indices, axis)
    if along is None:
        return f"more than {MAX_RANK} axes"
    params = (ELEMENT_CODE[view.dtype(indices)], view.dtype(data).itemsize, *along)
    return Choice("gather_elements", (In(data), In(indices), Out(output)), params, f"axis {axis}")


def _along_axis(view: View, data: str, indices: str, axis: int) -> tuple[Param, ...] | None:
    """Size and stride of the axis, and the data walked over the indices with the axis at 0."""
    shape = view.shape(data)
    strides = row_major(shape)
    walk = Walk(tuple(0 if i == axis else stride for i, stride in enumerate(strides)))
    space = space_params(view.shape(indices), [walk])
    return None if space is None else (shape[axis], strides[axis], *space)


def lower_scatter_elements(node: Node, view: View) -> Choice | str:
    """Scatter too: the old name."""
    data, indices, updates = node.inputs[:3]
    reduction = text(node, "reduction", "none")
    if reason := _reducible(view, data, reduction):
        return reason
    if _is_empty(view, node.outputs[0]):
        return NO_ELEMENTS
    axis = axis_of(node, 0, len(view.shape(data)))
    along = _along_axis(view, data, indices, axis)
    if along is None:
        return f"more than {MAX_RANK} axes"
    axis_dim, axis_stride, *space = along
    params = (
        _REDUCTIONS[reduction], ELEMENT_CODE[view.dtype(data)],
        ELEMENT_CODE[view.dtype(indices)], axis_dim, axis_stride,
        math.prod(view.shape(data)), *space,
    )  # fmt: skip
    operands = (In(data), In(indices), In(updates), Out(node.outputs[0]))
    return Choice(
        "scatter_elements", operands, params, f"axis {axis}, {reduction}", in_place=(0, 3)
    )


def _reducible(view: View, data: str, reduction: str) -> str:
    dtype = view.dtype(data)
    if dtype not in ELEMENT_CODE:
        return f"element type {dtype.value}"
    if reduction not in _REDUCTIONS:
        return f"reduction {reduction!r}"
    if reduction != "none" and dtype not in NUMERIC:
        return f"reduction {reduction!r} on element type {dtype.value}"
    return ""


def lower_gather_nd(node: Node, view: View) -> Choice | str:
    """Tuples of indices, with batch axes."""
    data, indices, output = node.inputs[0], node.inputs[1], node.outputs[0]
    if reason := _movable(view, data):
        return reason
    if _is_empty(view, output):
        return NO_ELEMENTS
    batch_dims = integer(node, "batch_dims", 0)
    shape, index_shape = view.shape(data), view.shape(indices)
    end = batch_dims + index_shape[-1]
    params = (
        math.prod(shape[:batch_dims]), math.prod(index_shape[batch_dims:-1]),
        shape[batch_dims:end], math.prod(shape[end:]) * view.dtype(data).itemsize,
    )  # fmt: skip
    why = f"tuples of {index_shape[-1]}"
    return Choice("gather_nd", (In(data), In(indices), Out(output)), params, why)


def lower_scatter_nd(node: Node, view: View) -> Choice | str:
    """Tuples of indices."""
    data, indices, updates = node.inputs
    reduction = text(node, "reduction", "none")
    if reason := _reducible(view, data, reduction):
        return reason
    if _is_empty(view, node.outputs[0]):
        return NO_ELEMENTS
    shape, index_shape = view.shape(data), view.shape(indices)
    width = index_shape[-1]
    params = (
        _REDUCTIONS[reduction], ELEMENT_CODE[view.dtype(data)], math.prod(index_shape[:-1]),
        shape[:width], math.prod(shape[width:]),
    )  # fmt: skip
    operands = (In(data), In(indices), In(updates), Out(node.outputs[0]))
    return Choice(
        "scatter_nd", operands, params, f"tuples of {width}, {reduction}", in_place=(0, 3)
    )


def lower_one_hot(node: Node, view: View) -> Choice | str:
    """The depth follows from the output shape; the values may be computed."""
    indices, values, output = node.inputs[0], node.inputs[2], node.outputs[0]
    if view.dtype(indices) not in NUMERIC:
        return f"indices of type {view.dtype(indices).value}"
    if reason := _movable(view, values):
        return reason
    if _is_empty(view, output):
        return NO_ELEMENTS
    shape = view.shape(output)
    axis = axis_of(node, -1, len(shape))
    params = (
        ELEMENT_CODE[view.dtype(indices)], view.dtype(values).itemsize,
        math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]),
    )  # fmt: skip
    return Choice("one_hot", (In(indices), In(values), Out(output)), params, f"axis {axis}")


def lower_where(node: Node, view: View) -> Choice | str:
    """Any element type, with broadcasting."""
    output = node.outputs[0]
    if reason := _movable(view, output):
        return reason
    if _is_empty(view, output):
        return NO_ELEMENTS
    shape = view.shape(output)
    walks = [Walk(broadcast(view.shape(value), shape)) for value in node.inputs]
    space = space_params(shape, walks)
    if space is None:
        return f"more than {MAX_RANK} axes that cannot be joined"
    operands: tuple[Operand, ...] = (*(In(value) for value in node.inputs), Out(output))
    return Choice("where", operands, (view.dtype(output).itemsize, *space), "select")


def _axis_shape(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """Elements before the axis, of it, and after it."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def lower_arg(node: Node, view: View) -> Choice | str:
    """ArgMax and ArgMin; the first or the last of equals."""
    value, output = node.inputs[0], node.outputs[0]
    dtype, shape = view.dtype(value), view.shape(value)
    if dtype not in NUMERIC:
        return f"element type {dtype.value}"
    if _is_empty(view, output):
        return NO_ELEMENTS
    axis = axis_of(node, 0, len(shape))
    if shape[axis] == 0:
        return "an empty axis has no largest element"
    is_last = integer(node, "select_last_index", 0)
    params = (ELEMENT_CODE[dtype], int(node.op == "ArgMin"), is_last, *_axis_shape(shape, axis))
    return Choice("arg", (In(value), Out(output)), params, f"axis {axis}")


def lower_top_k(node: Node, view: View) -> Choice | str:
    """k follows from the output shape; the result is sorted even where it need not be."""
    value, (values, indices) = node.inputs[0], node.outputs
    dtype, shape = view.dtype(value), view.shape(value)
    if dtype not in NUMERIC:
        return f"element type {dtype.value}"
    if not values or not indices:
        return "an output of TopK is absent"
    if _is_empty(view, values):
        return NO_ELEMENTS
    axis = axis_of(node, -1, len(shape))
    k = view.shape(values)[axis]
    params = (ELEMENT_CODE[dtype], k, integer(node, "largest", 1), *_axis_shape(shape, axis))
    return Choice("top_k", (In(value), Out(values), Out(indices)), params, f"{k} of {shape[axis]}")


def lower_scan(node: Node, view: View) -> Choice | str:
    """CumSum and CumProd; the axis must be constant unless there is only one."""
    value, output = node.inputs[0], node.outputs[0]
    dtype, shape = view.dtype(value), view.shape(value)
    if dtype not in NUMERIC:
        return f"element type {dtype.value}"
    if _is_empty(view, output):
        return NO_ELEMENTS
    given = (0,) if len(shape) == 1 else constant_integers(node, 1, view)
    if not isinstance(given, tuple):
        return given or f"{node.op} without an axis"
    axis = given[0] % len(shape)
    params = (
        ELEMENT_CODE[dtype], integer(node, "exclusive", 0), integer(node, "reverse", 0),
        int(node.op == "CumProd"), *_axis_shape(shape, axis),
    )  # fmt: skip
    return Choice("scan", (In(value), Out(output)), params, f"axis {axis}")


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("", "Gather"): lower_gather,
    ("", "GatherElements"): lower_gather_elements,
    ("", "GatherND"): lower_gather_nd,
    ("", "Scatter"): lower_scatter_elements,
    ("", "ScatterElements"): lower_scatter_elements,
    ("", "ScatterND"): lower_scatter_nd,
    ("", "OneHot"): lower_one_hot,
    ("", "Where"): lower_where,
    ("", "ArgMax"): lower_arg,
    ("", "ArgMin"): lower_arg,
    ("", "TopK"): lower_top_k,
    ("", "CumSum"): lower_scan,
    ("", "CumProd"): lower_scan,
}
