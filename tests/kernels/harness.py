"""Run one adapter on arrays, through a plan of one call, at a forced instruction set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from colonnade import _core
from colonnade.knobs import ISAS
from colonnade.planner.plan import (
    Buffer,
    Call,
    ParallelFor,
    Param,
    Plan,
    Seq,
    Space,
    Split,
    encode_plan,
)

AVAILABLE = ISAS[: ISAS.index(_core.best_isa("amx")) + 1]
each_isa = pytest.mark.parametrize("isa", AVAILABLE)

NAN_FILL = np.float32(np.nan)
LINE_FLOATS = 16
UNALIGNED_FLOATS = 1
"""Panels need no alignment. Engines' own are aligned, and so are those of the native tests."""


def lanes_of(isa: str) -> int:
    """Columns in a panel of an instruction set."""
    return int(_core.panel_lanes(isa))


def run_call(
    kernel: str,
    inputs: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray | None],
    params: tuple[Param, ...],
    isa: str,
    order: Sequence[int] | None = None,
    threads: int = 1,
    constants: Sequence[int] = (),
) -> tuple[int, int, int, int, str]:
    """Fill `outputs` in place and return the run's status.

    Operands are inputs then outputs, or `order`: positions in that list, operand by operand.
    `constants`: positions of inputs that are constants of the plan.
    """
    buffers: list[Buffer] = []
    numbers: list[int] = []
    given: dict[Space, list[np.ndarray]] = {
        Space.INPUT: [],
        Space.OUTPUT: [],
        Space.CONSTANT: [],
    }
    for is_output, arrays in ((False, inputs), (True, outputs)):
        for i, array in enumerate(arrays):
            space = Space.OUTPUT if is_output else Space.INPUT
            if not is_output and i in constants:
                space = Space.CONSTANT
            if array is None:
                numbers.append(-1)
                continue
            buffers.append(Buffer(space, array.nbytes, index=len(given[space])))
            given[space].append(array)
            numbers.append(len(buffers) - 1)
    operands = tuple(numbers if order is None else [numbers[i] for i in order])
    call = Call(kernel, operands, params, "test")
    plan = Plan(
        tuple(buffers), tuple(given[Space.CONSTANT]), len(given[Space.INPUT]),
        len(given[Space.OUTPUT]), 0, Seq((ParallelFor((call,), Split.UNITS),)), isa,
    )  # fmt: skip
    packed = given[Space.CONSTANT]
    executor = _core.Executor(_core.Runtime(threads), encode_plan(plan), packed, isa)
    return executor.run(given[Space.INPUT], given[Space.OUTPUT])


def to_panels(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """A features x columns matrix as panels; lanes past the last column are NaN on purpose."""
    features, columns = matrix.shape
    panels = -(-columns // lanes)
    padded = np.full((features, panels * lanes), NAN_FILL, np.float32)
    padded[:, :columns] = matrix
    y = empty_panels(features, columns, lanes)
    y[:] = padded.reshape(features, panels, lanes).transpose(1, 0, 2)
    return y


def from_panels(panels: np.ndarray, columns: int) -> np.ndarray:
    """The first `columns` columns of panels, as a features x columns matrix."""
    count, features, lanes = panels.shape
    return panels.transpose(1, 0, 2).reshape(features, count * lanes)[:, :columns]


def empty_panels(
    features: int, columns: int, lanes: int, past_line: int = UNALIGNED_FLOATS
) -> np.ndarray:
    """Panels full of NaN, to be written; they start `past_line` floats after a cache line."""
    shape = -(-columns // lanes), features, lanes
    count = math.prod(shape)
    room = np.full(count + 2 * LINE_FLOATS, NAN_FILL, np.float32)
    first = -(room.ctypes.data // room.itemsize) % LINE_FLOATS + past_line
    return room[first : first + count].reshape(shape)


def columns_of(tensor: np.ndarray) -> np.ndarray:
    """[n, c, ...] as a channels x columns matrix."""
    return np.moveaxis(tensor, 1, 0).reshape(tensor.shape[1], -1)
