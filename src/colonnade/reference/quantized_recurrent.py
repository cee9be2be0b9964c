"""Recurrent layers whose weights and hidden state are 8-bit integers.

colonnade.QRecurrent(gates, r, r_scale, hidden_bias?, peepholes?, lengths?, h0?, c0?, h_scale?,
h_zero?) is colonnade.Recurrent with r int8 [directions, hidden, G * hidden], r_scale float32
[directions, G * hidden], and, in every product with r, the state (of a GRU's second product: reset
times state) replaced by

    (q - zero) * scale,  q = uint8(round(h * (1 / scale)) + zero), saturated, ties to even

h_scale and h_zero (uint8) are scalars. Without them they are those of DynamicQuantizeLinear, for
the rows of a direction that enter a step.

com.microsoft.DynamicQuantizeLSTM is that without scales, of an input that DynamicQuantizeLinear
makes integers of (ONNX Runtime leaves out the steps behind the longest sequence, and measures the
state of each of its threads' items apart).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import has_attr, int_attr, str_attr
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operation, Operations, Outputs
from colonnade.reference.precision import narrow, wide
from colonnade.reference.quantize import OPS as BORDERS
from colonnade.reference.quantize import saturate
from colonnade.reference.rnn import (
    Activation,
    State,
    Step,
    Weights,
    clipped,
    lstm_step,
    recurrent_layer,
    rnn_step,
    walk_gates,
)

Scale = tuple[np.float32, np.uint8] | None
"""Scale and zero point of the state; None: measured at each step."""
_UINT8 = np.dtype(np.uint8)


def _qrecurrent(
    node: Node,
    gates: np.ndarray,
    r: np.ndarray,
    r_scale: np.ndarray,
    *rest: np.ndarray | None,
) -> Outputs:
    optional = (*rest, *(None,) * (7 - len(rest)))
    h_scale, h_zero = optional[5:]
    scale = None
    if h_scale is not None and h_zero is not None:
        scale = (np.float32(h_scale.reshape(())), np.uint8(h_zero.reshape(())))
    layer = _layer(str_attr(node, "kind", "LSTM"), scale)
    return walk_gates(layer, node, gates, wide(r) * wide(r_scale[:, None]), *optional[:5])


def _layer(kind: str, scale: Scale) -> Operation:
    if kind == "GRU":
        return recurrent_layer(_gru_step(scale), 3, 1, ("Sigmoid", "Tanh"))
    if kind == "RNN":
        return recurrent_layer(_on_quantized(rnn_step, scale), 1, 1, ("Tanh",))
    step = _on_quantized(lstm_step, scale)
    return recurrent_layer(step, 4, 2, ("Sigmoid", "Tanh", "Tanh"))


def quantize_state(h: np.ndarray, scale: Scale) -> np.ndarray:
    """What a product sees of the state, in float64."""
    if h.size == 0:
        return h
    values = narrow(h, np.float32)
    step, zero = _measured(values)[1:] if scale is None else scale
    steps = np.rint(values * (np.float32(1) / step)).astype(np.float64) + float(zero)
    return (wide(saturate(steps, _UINT8)) - float(zero)) * float(step)


def _measured(values: np.ndarray) -> tuple[np.ndarray, np.float32, np.uint8]:
    """The integers, scale and zero point of DynamicQuantizeLinear."""
    made = BORDERS["", "DynamicQuantizeLinear"](Node("", (), (), {}, "", "", 1), values)
    integers, scale, zero = (np.asarray(array) for array in made)
    return integers, np.float32(scale), np.uint8(zero)


def _on_quantized(step: Step, scale: Scale) -> Step:
    """A step that reads h in its products only."""

    def quantized(
        node: Node, functions: Sequence[Activation], weights: Weights, x: np.ndarray, state: State
    ) -> State:
        h, *others = state
        return step(node, functions, weights, x, (quantize_state(h, scale), *others))

    return quantized


def _gru_step(scale: Scale) -> Step:
    def step(
        node: Node, functions: Sequence[Activation], weights: Weights, x: np.ndarray, state: State
    ) -> State:
        f, g = functions
        (h,) = state
        seen = quantize_state(h, scale)
        wz, wr, wh = np.split(x @ weights.w.T + weights.wb, 3, axis=1)
        rz, rr, rh = np.split(weights.r, 3)
        bz, br, bh = np.split(weights.rb, 3)
        z = f(clipped(node, wz + seen @ rz.T + bz))
        reset = f(clipped(node, wr + seen @ rr.T + br))
        if int_attr(node, "linear_before_reset", 0):
            hidden = g(clipped(node, wh + reset * (seen @ rh.T + bh)))
        else:
            hidden = g(clipped(node, wh + quantize_state(reset * h, scale) @ rh.T + bh))
        return ((1 - z) * hidden + z * h,)

    return step


def _dynamic_quantize_lstm(node: Node, *inputs: np.ndarray | None) -> Outputs:
    x, w, r, b, lengths, h0, c0, peepholes = inputs[:8]
    w_scale, w_zero, r_scale, r_zero = inputs[8:12]
    if any(a is None for a in (x, w, r, w_scale, w_zero, r_scale, r_zero)):
        raise EvaluationError("a scale, a zero point or the weights are missing")
    if has_attr(node, "activations"):
        raise EvaluationError("activations other than the usual ones")
    assert x is not None
    assert w is not None
    assert r is not None
    weights = _real(w, w_scale, w_zero)
    directions, _, rows = w.shape
    integers, x_scale, x_zero = _measured(x)
    seen = (wide(integers) - float(x_zero)) * float(x_scale)
    gates = seen @ weights.transpose(1, 0, 2).reshape(w.shape[1], -1)
    if b is not None:
        gates = gates + (b[:, :rows] + b[:, rows:]).reshape(-1)
    attrs = {**node.attrs, "kind": "LSTM"}
    layer = _layer("LSTM", None)
    return walk_gates(
        layer, replace(node, attrs=attrs), narrow(gates, np.float32), _real(r, r_scale, r_zero),
        None, peepholes, lengths, h0, c0,
    )  # fmt: skip


def _real(w: np.ndarray, scale: np.ndarray | None, zero: np.ndarray | None) -> np.ndarray:
    """Weights [directions, k, rows] with a scale a direction, or a row of one."""
    assert scale is not None
    assert zero is not None
    spread = (len(w), 1, -1)
    centred = w.astype(np.float64) - wide(zero).reshape(spread)
    return np.asarray(centred * wide(scale).reshape(spread))


OPS: Operations = {
    ("colonnade", "QRecurrent"): _qrecurrent,
    ("com.microsoft", "DynamicQuantizeLSTM"): _dynamic_quantize_lstm,
}
