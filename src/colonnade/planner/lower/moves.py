"""The moves that several lowerings are made of: views, strided copies, gathers by table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from colonnade.planner.choice import (
    ROWS,
    Alias,
    Choice,
    Const,
    In,
    Layout,
    Operand,
    Out,
    View,
)
from colonnade.planner.columns import reshaped_feature_axis
from colonnade.planner.element import MOVABLE_BYTES
from colonnade.planner.index_table import encode_runs
from colonnade.planner.strides import MAX_RANK, Walk, row_major, space_params

NO_ELEMENTS = "no elements"
"""The planner needs no kernel for an output without elements."""


def alias_reshaped(view: View, value: str, output: str) -> Alias | str:
    """The same items under the output's shape; in columns where they keep their order."""
    shape, new_shape = view.shape(value), view.shape(output)
    if math.prod(new_shape) == 0:
        return NO_ELEMENTS
    layout = view.layout(value)
    if layout.feature_axis is not None:
        axis = reshaped_feature_axis(shape, layout.feature_axis, new_shape)
        if axis is not None:
            return Alias(value, output, layout, Layout(axis))
    return Alias(value, output, ROWS, ROWS)


def strided_copy(
    view: View, value: str, output: str, dims: Sequence[int], walk: Walk, why: str
) -> Choice | str:
    """A copy of `value` walked over `dims` into the contiguous `output`."""
    itemsize = view.dtype(value).itemsize
    if itemsize not in MOVABLE_BYTES:
        return f"element type {view.dtype(value).value}"
    if 0 in dims:
        return NO_ELEMENTS
    space = space_params(dims, [walk])
    if space is None:
        return f"more than {MAX_RANK} axes that cannot be joined"
    return Choice("strided_copy", (In(value), Out(output)), (itemsize, *space), why)


def gather_grid(
    view: View,
    value: str,
    output: str,
    tables: Sequence[np.ndarray],
    fill: Operand,
    why: str,
) -> Choice | Alias | str:
    """out[i, j, ..] = in[tables[0][i], tables[1][j], ..]; FILL entries take the fill value."""
    shape, itemsize = view.shape(value), view.dtype(value).itemsize
    if itemsize not in MOVABLE_BYTES:
        return f"element type {view.dtype(value).value}"
    if any(table.size == 0 for table in tables):
        return NO_ELEMENTS
    kept = [np.array_equal(table, np.arange(dim)) for table, dim in zip(tables, shape, strict=True)]
    if all(kept):
        return alias_reshaped(view, value, output)
    dims, joined = _join_kept_axes(shape, tables, kept)
    if len(dims) > MAX_RANK:
        return f"more than {MAX_RANK} axes that cannot be joined"
    runs = tuple(encode_runs(table) for table in joined)
    return Choice(
        "grid_gather", (In(value), fill, Out(output)), (itemsize, tuple(dims), *runs), why
    )


def _join_kept_axes(
    shape: Sequence[int], tables: Sequence[np.ndarray], kept: Sequence[bool]
) -> tuple[list[int], list[np.ndarray]]:
    """Neighbouring axes that stay as they are become one."""
    dims: list[int] = []
    joined: list[np.ndarray] = []
    for axis, (dim, table) in enumerate(zip(shape, tables, strict=True)):
        if axis > 0 and kept[axis] and kept[axis - 1]:
            dims[-1] *= dim
            joined[-1] = np.arange(dims[-1])
        else:
            dims.append(dim)
            joined.append(table)
    return dims, joined


def copy_constant(view: View, made: Const, output: str, why: str) -> Choice | str:
    """A constant of the output's shape and type, copied to it."""
    dims = view.shape(output)
    if math.prod(dims) == 0:
        return NO_ELEMENTS
    space = space_params(dims, [Walk(row_major(dims))])
    assert space is not None
    params = (view.dtype(output).itemsize, *space)
    return Choice("strided_copy", (made, Out(output)), params, why)


def fill_constant(view: View, item: np.ndarray, output: str) -> Choice | str:
    """One item everywhere in the output."""
    dims, dtype = view.shape(output), view.dtype(output)
    if dtype.itemsize not in MOVABLE_BYTES:
        return f"element type {dtype.value}"
    if math.prod(dims) == 0:
        return NO_ELEMENTS
    made = Const(("item", item.dtype.str, item.tobytes()), lambda: np.ascontiguousarray(item))
    space = space_params(dims, [Walk((0,) * len(dims))])
    assert space is not None
    return Choice("strided_copy", (made, Out(output)), (dtype.itemsize, *space), "fill")


def count_panels(shape: Sequence[int], feature_axis: int, panel: int) -> int:
    """Panels of a tensor in columns, the last one perhaps not full."""
    columns = math.prod(shape) // max(shape[feature_axis], 1)
    return -(-columns // panel)
