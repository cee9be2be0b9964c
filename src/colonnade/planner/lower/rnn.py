"""Recurrent layers: the loop over time that is left once the input's product is apart."""

from __future__ import annotations

import math

from colonnade.ir import Node
from colonnade.planner.choice import Absent, Choice, In, Lowering, Operand, Out, View
from colonnade.planner.lower.attributes import integer, text

# Codes of RecurrentKind in native/kernels/rnn/rnn.h.
_RNN = {"tanh": 0, "relu": 1}
_LSTM, _GRU, _GRU_RESET_BEHIND = 2, 3, 4
_NUM_INPUTS, _NUM_OUTPUTS = 7, 3


def lower_recurrent(node: Node, view: View) -> Choice | str:
    """colonnade.Recurrent; directions and blocks of the batch run in parallel."""
    gates, r = node.inputs[:2]
    shape = view.shape(gates)
    directions, hidden, columns = view.shape(r)
    is_batch_first = integer(node, "layout", 0)
    steps, batch = (shape[1], shape[0]) if is_batch_first else shape[:2]
    inputs = (*node.inputs, *("",) * (_NUM_INPUTS - len(node.inputs)))
    outputs = (*node.outputs, *("",) * (_NUM_OUTPUTS - len(node.outputs)))
    operands: tuple[Operand, ...] = (
        *(In(value) if value else Absent() for value in inputs),
        *(Out(value) if value else Absent() for value in outputs),
    )
    is_reverse = int(text(node, "direction", "forward") == "reverse")
    params = (_kind(node), steps, batch, hidden, directions, is_reverse, is_batch_first)
    why = f"{steps} steps of {hidden} units"
    flops = 2 * steps * batch * math.prod((directions, hidden, columns))
    return Choice("recurrent", operands, params, why, flops=flops)


def _kind(node: Node) -> int:
    kind = text(node, "kind", "")
    if kind == "RNN":
        return _RNN[text(node, "activation", "tanh")]
    if kind == "LSTM":
        return _LSTM
    return _GRU_RESET_BEHIND if integer(node, "linear_before_reset", 0) else _GRU


LOWERINGS: dict[tuple[str, str], Lowering] = {("colonnade", "Recurrent"): lower_recurrent}
