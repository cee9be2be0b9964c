"""The epilogue of a product: what the kernel does itself, and the program for what is left.

The kernels add one residual and clamp; anything else runs as an element-wise program on the rows
that were just written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from colonnade.ir import Program
from colonnade.planner.choice import Absent, In, Layout, Operand, View
from colonnade.planner.lower.constants import flat_floats
from colonnade.planner.lower.program import encode_program
from colonnade.planner.plan import Param

PANELS, FEATURES, SCALAR = 0, 1, 2
"""How an extra operand is read: like the output, one value a feature, one value in all."""


@dataclass(frozen=True)
class EpilogueChoice:
    """Operands and parameters of a product's epilogue."""

    residual: Operand
    lo: float
    hi: float
    extras: tuple[Operand, ...]
    params: tuple[Param, ...]
    """(kinds of the extras, program words)."""
    what: str


def lower_epilogue(
    program: Program,
    extras: Sequence[str],
    shape: tuple[int, ...],
    layout: Layout,
    view: View,
    *,
    takes_residual: bool = True,
) -> EpilogueChoice | str:
    """Split a program whose input 0 is the product; `shape` and `layout` are the output's.

    `takes_residual`: the kernel adds one operand itself.
    """
    kinds = [_kind(value, shape, layout, view) for value in extras]
    for value, kind in zip(extras, kinds, strict=True):
        if isinstance(kind, str):
            return f"epilogue operand {value!r}: {kind}"
    residual, rest = _take_residual(program, kinds) if takes_residual else (None, program)
    lo, hi, rest = _take_clamp(rest)
    left = [i for i in range(len(extras)) if residual != i]
    operands = tuple(_operand(extras[i], kinds[i], layout, view) for i in left)
    words: tuple[Param, ...] = ()
    if rest.instructions:
        words = encode_program(_renumber(rest, [0, *(i + 1 for i in left)]))
    what = str(program) if program.instructions else ""
    return EpilogueChoice(
        In(extras[residual], layout) if residual is not None else Absent(),
        lo, hi,
        operands if rest.instructions else (),
        (tuple(int(kinds[i]) for i in left) if rest.instructions else (), words),
        what,
    )  # fmt: skip


NO_EPILOGUE = EpilogueChoice(Absent(), -math.inf, math.inf, (), ((), ()), "")


def _kind(value: str, shape: tuple[int, ...], layout: Layout, view: View) -> int | str:
    axis = layout.feature_axis
    assert axis is not None
    own = view.shape(value)
    if own == shape and view.constant(value) is None:
        return PANELS
    if math.prod(own) == 1:
        return SCALAR
    padded = (1,) * (len(shape) - len(own)) + own
    if len(padded) == len(shape) and all(
        dim == (shape[i] if i == axis else 1) for i, dim in enumerate(padded)
    ):
        return FEATURES
    return f"shape {list(own)} does not fit {list(shape)} by features"


def _operand(value: str, kind: int | str, layout: Layout, view: View) -> Operand:
    array = view.constant(value)
    if array is None:
        return In(value, layout) if kind == PANELS else In(value)
    return flat_floats(value, array)


def _take_residual(program: Program, kinds: Sequence[int | str]) -> tuple[int | None, Program]:
    """`add(%0, %extra)` as the first instruction, the extra read nowhere else."""
    if not program.instructions:
        return None, program
    first = program.instructions[0]
    if first.op != "add" or 0 not in first.args or first.args[0] == first.args[1]:
        return None, program
    extra = first.args[0] + first.args[1]
    others = [arg for ins in program.instructions[1:] for arg in ins.args]
    if extra >= program.num_inputs or kinds[extra - 1] != PANELS or {0, extra} & set(others):
        return None, program
    made = program.num_inputs
    rest = tuple(
        type(ins)(ins.op, tuple(0 if a == made else a - (a > made) for a in ins.args), ins.imm)
        for ins in program.instructions[1:]
    )
    return extra - 1, Program(program.num_inputs, rest)


def _take_clamp(program: Program) -> tuple[float, float, Program]:
    """A lone relu or clip is the kernel's own clamp."""
    if len(program.instructions) == 1 and program.instructions[0].args == (0,):
        only = program.instructions[0]
        if only.op == "relu":
            return 0.0, math.inf, Program(program.num_inputs)
        if only.op == "clip":
            return float(only.imm[0]), float(only.imm[1]), Program(program.num_inputs)
    return -math.inf, math.inf, program


def _renumber(program: Program, kept: Sequence[int]) -> Program:
    """Keep only the inputs in `kept`, in order."""
    number = {old: new for new, old in enumerate(kept)}
    shift = program.num_inputs - len(kept)
    instructions = tuple(
        type(ins)(
            ins.op,
            tuple(number[a] if a < program.num_inputs else a - shift for a in ins.args),
            ins.imm,
        )
        for ins in program.instructions
    )
    return Program(len(kept), instructions)
