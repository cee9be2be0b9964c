"""Recurrent layers: the loop over time that is left once the input's product is apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from colonnade import _core
from colonnade.ir import Node
from colonnade.planner.choice import (
    Absent,
    Choice,
    Const,
    In,
    Lowering,
    Operand,
    Out,
    Temp,
    View,
)
from colonnade.planner.lower.attributes import integer, real, text
from colonnade.planner.split import choose_recurrent_items

# Codes of RecurrentKind in native/kernels/rnn/rnn.h.
_RNN = {"tanh": 0, "relu": 1}
_LSTM, _GRU, _GRU_RESET_BEHIND = 2, 3, 4
_NUM_INPUTS, _NUM_OUTPUTS = 7, 3
STATES_KEPT = 4
"""Hidden states of work for each direction and batch item: see recurrent_work_floats."""


@dataclass(frozen=True)
class _Sizes:
    kind: int
    steps: int
    batch: int
    hidden: int
    directions: int
    columns: int

    @property
    def r_floats(self) -> int:
        return self.directions * self.hidden * self.columns


def lower_recurrent(node: Node, view: View) -> Choice | str:
    """colonnade.Recurrent: threads share hidden units and meet at each step, or batch items."""
    gates, r = node.inputs[:2]
    shape = view.shape(gates)
    directions, hidden, columns = view.shape(r)
    is_batch_first = integer(node, "layout", 0)
    steps, batch = (shape[1], shape[0]) if is_batch_first else shape[:2]
    sizes = _Sizes(kind_of(node), steps, batch, hidden, directions, columns)
    lanes, name = _core.choose_recurrent(view.isa)
    array = view.constant(r)
    packed_floats = _core.recurrent_packed_floats(sizes.kind, directions, hidden, lanes)
    items = 0
    if array is not None:
        items = choose_recurrent_items(directions, batch, hidden, columns, view.threads)
    work = STATES_KEPT * directions * batch * hidden + (0 if array is not None else packed_floats)
    inputs = (*node.inputs, *("",) * (_NUM_INPUTS - len(node.inputs)))
    outputs = (*node.outputs, *("",) * (_NUM_OUTPUTS - len(node.outputs)))
    operands: tuple[Operand, ...] = (
        In(gates),
        In(r) if array is None else _packed(r, array, sizes, lanes),
        *(In(value) if value else Absent() for value in inputs[2:]),
        Temp(4 * work),
        *(Out(value) if value else Absent() for value in outputs),
    )
    is_reverse = int(text(node, "direction", "forward") == "reverse")
    clip = real(node, "clip", 0.0) or math.inf
    params = (
        sizes.kind, steps, batch, hidden, directions, is_reverse, is_batch_first,
        integer(node, "input_forget", 0), clip, items,
    )  # fmt: skip
    how = f"{items} items a unit" if items else "threads meet at each step"
    why = f"{name}, {steps} steps of {hidden} units, {how}"
    return Choice("recurrent", operands, params, why, flops=2 * steps * batch * sizes.r_floats)


def _packed(value: str, array: np.ndarray, sizes: _Sizes, lanes: int) -> Const:
    def pack() -> np.ndarray:
        r = np.ascontiguousarray(array, np.float32)
        return _core.pack_recurrent(sizes.kind, r, sizes.directions, sizes.hidden, lanes)

    return Const((value, "recurrent", sizes.kind, lanes), pack)


def kind_of(node: Node) -> int:
    """The code of the layer's RecurrentKind."""
    kind = text(node, "kind", "")
    if kind == "RNN":
        return _RNN[text(node, "activation", "tanh")]
    if kind == "LSTM":
        return _LSTM
    return _GRU_RESET_BEHIND if integer(node, "linear_before_reset", 0) else _GRU


LOWERINGS: dict[tuple[str, str], Lowering] = {("colonnade", "Recurrent"): lower_recurrent}
