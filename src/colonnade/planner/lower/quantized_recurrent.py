"""Recurrent layers on 8-bit integers: the loop over time of reference/quantized_recurrent.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from colonnade import _core
from colonnade.ir import Node
from colonnade.planner.choice import Absent, Choice, Const, In, Lowering, Operand, Out, Temp, View
from colonnade.planner.lower.attributes import integer, real, text
from colonnade.planner.lower.rnn import STATES_KEPT, kind_of
from colonnade.planner.lower.scales import zero_operand
from colonnade.planner.split import choose_byte_recurrent_tiles, choose_recurrent_items

_NUM_INPUTS, _NUM_OUTPUTS = 10, 3
_BLOCKS = {0: 4, 1: 4, 2: 1, 3: 2, 4: 1}
"""Vectors of hidden units in a tile, by kind: recurrent_form in native/kernels/rnn/rnn.h."""


@dataclass(frozen=True)
class _Weights:
    """Names and arrays of r and r_scale, and how they are packed."""

    names: tuple[str, str]
    r: np.ndarray
    scale: np.ndarray
    kind: int
    lanes: int

    def operands(self) -> tuple[Const, Const, Const]:
        """Packed r, its scales, its sums."""
        directions, hidden, _ = self.r.shape
        how = (self.kind, self.lanes)
        sizes = (directions, hidden, self.lanes)
        scale = np.ascontiguousarray(self.scale, np.float32)
        return (
            Const(
                (self.names[0], "byte recurrent", *how),
                lambda: _core.pack_byte_recurrent(self.kind, self.r, *sizes),
            ),
            Const(
                (self.names[1], "recurrent scales", *how),
                lambda: _core.pack_recurrent_scales(self.kind, scale, *sizes),
            ),
            Const(
                (self.names[0], "recurrent sums", *how),
                lambda: _core.pack_recurrent_sums(
                    self.kind, self.r.sum(axis=1, dtype=np.int32), *sizes
                ),
            ),
        )


def lower_qrecurrent(node: Node, view: View) -> Choice | str:
    """colonnade.QRecurrent: threads share hidden units and meet at each step, or batch items."""
    inputs = (*node.inputs, *("",) * (_NUM_INPUTS - len(node.inputs)))
    r, scale = view.constant(inputs[1]), view.constant(inputs[2])
    if r is None or scale is None:
        return "weights that are not constant"
    gates = view.shape(inputs[0])
    directions, hidden, columns = r.shape
    is_batch_first = integer(node, "layout", 0)
    steps, batch = (gates[1], gates[0]) if is_batch_first else gates[:2]
    kind = kind_of(node)
    lanes, name = _core.choose_byte_recurrent(view.isa)
    items = _items(view, (directions, batch, hidden, columns), is_measured=not inputs[8])
    tiles = choose_byte_recurrent_tiles(-(-hidden // (lanes * _BLOCKS[kind])), view.threads)
    weights = _Weights((inputs[1], inputs[2]), r, scale, kind, lanes)
    packed, scales, sums = weights.operands()
    outputs = (*node.outputs, *("",) * (_NUM_OUTPUTS - len(node.outputs)))
    operands: tuple[Operand, ...] = (
        In(inputs[0]), packed, *(In(value) if value else Absent() for value in inputs[3:8]),
        Temp(4 * STATES_KEPT * directions * batch * hidden),
        *(Out(value) if value else Absent() for value in outputs), scales, sums,
        In(inputs[8]) if inputs[8] else Absent(), zero_operand(inputs[9], view),
    )  # fmt: skip
    params = (
        kind, steps, batch, hidden, directions, int(text(node, "direction", "") == "reverse"),
        is_batch_first, integer(node, "input_forget", 0), real(node, "clip", 0.0) or math.inf,
        items, tiles, int((r == -128).any()),
    )  # fmt: skip
    how = f"{items} items a unit" if items else "threads meet at each step"
    why = f"{name}, {steps} steps of {hidden} units, {how}"
    return Choice("qrecurrent", operands, params, why, flops=2 * steps * batch * r.size)


def _items(view: View, sizes: tuple[int, int, int, int], *, is_measured: bool) -> int:
    """Batch items of a unit, 0 for waves. All of a batch measure the state together."""
    directions, batch, hidden, columns = sizes
    items = choose_recurrent_items(directions, batch, hidden * columns, view.threads)
    return items if not is_measured or items >= batch else 0


LOWERINGS: dict[tuple[str, str], Lowering] = {("colonnade", "QRecurrent"): lower_qrecurrent}
