"""Element-wise programs on a tensor of their own: operands by strides, any layout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colonnade import _core
from colonnade.ir import Program
from colonnade.planner.choice import ROWS, Choice, Const, In, Layout, Operand, Out, Striped, View
from colonnade.planner.plan import Param
from colonnade.planner.strides import Walk, broadcast, fuse_axes, row_major

_OPCODES = {name: number for number, name in enumerate(_core.elementwise_opcodes())}
AXES_MAX = 7
"""Six row axes and the columns: native/kernels/elementwise/elementwise.h."""


def encode_program(program: Program) -> tuple[Param, ...]:
    """num_inputs, then for each instruction: opcode, three operands, two immediates."""
    words: list[Param] = [program.num_inputs]
    for ins in program.instructions:
        args = (*ins.args, 0, 0)[:3]
        imm = (*(float(value) for value in ins.imm), 0.0, 0.0)[:2]
        words += [_OPCODES[ins.op], *args, *imm]
    return tuple(words)


@dataclass(frozen=True)
class _Walked:
    """An operand and its strides over the program's index space."""

    operand: Operand
    strides: tuple[int, ...]


def lower_program(
    program: Program, inputs: Sequence[str], output: str, layout: Layout, view: View
) -> Choice | str:
    """Run a program over `output` in the given layout."""
    if layout.feature_axis is None:
        return _on_rows(program, inputs, output, view)
    return _on_columns(program, inputs, output, layout, view)


def _on_rows(program: Program, inputs: Sequence[str], output: str, view: View) -> Choice | str:
    shape = view.shape(output)
    walked = [
        _Walked(_rows_operand(value, view), broadcast(view.shape(value), shape)) for value in inputs
    ]
    in_place = _in_place(inputs, [w.strides == row_major(shape) for w in walked], view)
    return _choice(program, shape, walked, _Walked(Out(output), row_major(shape)), in_place, 0)


def _rows_operand(value: str, view: View) -> Operand:
    array = view.constant(value)
    if array is None:
        return In(value)
    flat = array
    return Const((value, "rows"), lambda: np.ascontiguousarray(flat, dtype=np.float32))


def _on_columns(
    program: Program, inputs: Sequence[str], output: str, layout: Layout, view: View
) -> Choice | str:
    shape, axis = view.shape(output), layout.feature_axis
    assert axis is not None
    features = shape[axis]
    panels = -(-math.prod(shape) // max(features, 1) // view.panel)
    dims = (panels, features, view.panel)
    walked = []
    for value in inputs:
        one = columns_operand(value, shape, layout, view)
        if one is None:
            return f"operand {value!r} {list(view.shape(value))} in {layout}"
        walked.append(one)
    in_place = _in_place(inputs, [w.strides == row_major(dims) for w in walked], view)
    out = _Walked(Out(output, layout), row_major(dims))
    return _choice(program, dims, walked, out, in_place, panels)


def columns_operand(
    value: str, shape: tuple[int, ...], layout: Layout, view: View
) -> _Walked | None:
    """An operand over (panels, features, lanes): like the output, by feature, by column, scalar."""
    axis = layout.feature_axis
    assert axis is not None
    own = view.shape(value)
    if len(own) > len(shape):
        return None
    padded = (1,) * (len(shape) - len(own)) + own
    lanes, features = view.panel, shape[axis]
    if math.prod(own) == 1:
        return _Walked(_rows_operand(value, view), (0, 0, 0))
    if padded == shape:
        return _Walked(
            _panels(value, own, axis - len(shape) + len(own), view), _full(features, lanes)
        )
    others_one = all(dim == 1 for i, dim in enumerate(padded) if i != axis)
    if others_one and padded[axis] == features:
        return _Walked(_rows_operand(value, view), (0, 1, 0))
    by_column = tuple(1 if i == axis else dim for i, dim in enumerate(shape))
    if padded == by_column and len(own) == len(shape):
        return _Walked(_panels(value, own, axis, view), (lanes, 0, 1))
    return None


def _full(features: int, lanes: int) -> tuple[int, int, int]:
    return (features * lanes, lanes, 1)


def _panels(value: str, own: tuple[int, ...], axis: int, view: View) -> Operand:
    array = view.constant(value)
    if array is None:
        return In(value, Layout(axis))
    rows, lanes = array, view.panel
    return Const((value, "panels", axis, lanes), lambda: pack_panels(rows, axis, lanes))


def pack_panels(array: np.ndarray, axis: int, lanes: int) -> np.ndarray:
    """A row-major array as column panels [panels][features][lanes], the last one zero filled."""
    features = array.shape[axis]
    columns = np.moveaxis(array, axis, 0).reshape(features, -1)
    count = columns.shape[1]
    panels = -(-count // lanes)
    padded = np.zeros((features, panels * lanes), np.float32)
    padded[:, :count] = columns
    return np.ascontiguousarray(padded.reshape(features, panels, lanes).transpose(1, 0, 2))


def _in_place(inputs: Sequence[str], full: Sequence[bool], view: View) -> tuple[int, int] | None:
    """The first operand that is walked like the output and is no constant."""
    for i, (value, is_full) in enumerate(zip(inputs, full, strict=True)):
        if is_full and view.constant(value) is None:
            return (i, len(inputs))
    return None


def _choice(
    program: Program,
    dims: tuple[int, ...],
    inputs: Sequence[_Walked],
    out: _Walked,
    in_place: tuple[int, int] | None,
    panels: int,
) -> Choice | str:
    walks = [Walk(w.strides) for w in (*inputs, out)]
    if panels:  # A panel stays a unit: only features and lanes may be joined.
        inner, inner_walks = fuse_axes(dims[1:], [Walk(w.strides[1:]) for w in walks])
        fused = (dims[0], *inner)
        strides = [(w.strides[0], *i.strides) for w, i in zip(walks, inner_walks, strict=True)]
    else:
        fused, flat = fuse_axes(dims, walks)
        strides = [walk.strides for walk in flat]
    if any(walk[-1] not in (0, 1) for walk in strides):
        fused, strides = (*fused, 1), [(*walk, 0) for walk in strides]
    if len(fused) > AXES_MAX:
        return f"{len(fused)} axes that do not join"
    params: tuple[Param, ...] = (
        encode_program(program), tuple(fused), tuple(s for walk in strides for s in walk),
        (0,) * len(walks), bool(panels),
    )  # fmt: skip
    operands = tuple(w.operand for w in (*inputs, out))
    elements = math.prod(dims)
    return Choice(
        "elementwise", operands, params, str(program), owns_columns=bool(panels), panels=panels,
        flops=elements * len(program.instructions), in_place=in_place,
        striped=Striped(params) if panels else None,
    )  # fmt: skip


def likely_layout(inputs: Sequence[str], output: str, view: View) -> Layout:
    """The layout that a full-sized input is in, columns before rows."""
    shape = view.shape(output)
    for value in inputs:
        layout = view.layout(value)
        if layout.is_columns and view.constant(value) is None and view.shape(value) == shape:
            return layout
    return ROWS
