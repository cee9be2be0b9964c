"""Recurrent layers on 8 bits: an input product and a loop. Scales are powers of two.

The static cases have one step, of a state that is a multiple of its scale: quantizing it changes
nothing, so that the answers are those of float32.
"""

from __future__ import annotations

import numpy as np

from colonnade.passes.split_quantized_recurrent import STATE, split_quantized_recurrent
from golden.builder import Case, Constants, weights
from golden.quantized import int8, powers, uint8

HOW = "uint8 0.0078125 128"
HIDDEN = 4


def _dynamic(
    name: str, *, attrs: str = "", directions: int = 1, fuses: bool = True, **changed: np.ndarray
) -> Case:
    """Five steps of two sequences, three features, four hidden values."""
    d, rows = directions, 4 * HIDDEN
    constants: Constants = {
        "w": int8(d, 3, rows), "r": int8(d, HIDDEN, rows), "b": weights(d, 2 * rows),
        "ws": powers(d), "wz": np.zeros(d, np.int8), "rs": powers(d), "rz": np.zeros(d, np.int8),
        **changed,
    }  # fmt: skip
    node = f"com.microsoft.DynamicQuantizeLSTM <hidden_size = 4{attrs}>"
    text = (
        "(float[5,2,3] x) => (float y, float h, float c) {"
        f" y, h, c = {node} (x, w, r, b, , , , , ws, wz, rs, rz) }}"
    )
    return Case(split_quantized_recurrent, name, text, constants, fuses)


def _static(
    name: str,
    op: str = "LSTM",
    gates: int = 4,
    *,
    x: str = "q = QuantizeLinear(x, xs, xz)  d = DequantizeLinear(q, xs, xz)",
    attrs: str = "",
    metadata: str = HOW,
    fuses: bool = True,
    **changed: np.ndarray,
) -> Case:
    rows = gates * HIDDEN
    states = np.random.default_rng(7).integers(-128, 128, (1, 2, HIDDEN))
    constants: Constants = {
        "wq": int8(1, rows, 3), "rq": int8(1, rows, HIDDEN), "ws": powers(rows),
        "rs": 2.0**-7, "zero": np.array(0, np.int8), "xs": 0.125, "xz": np.array(120, np.uint8),
        "b": weights(1, 2 * rows), "h0": (states / 128).astype(np.float32), **changed,
    }  # fmt: skip
    layer = f"{op} <hidden_size = 4{attrs}>"
    w = "w = DequantizeLinear <axis = 1> (wq, ws)  r = DequantizeLinear(rq, rs, zero)"
    text = f"(float[1,2,3] x) => (float y) {{ {x}  {w}  y = {layer} (d, w, r, b, , h0) }}"
    given = {STATE: metadata} if metadata else {}
    return Case(split_quantized_recurrent, name, text, constants, fuses, opset=21, metadata=given)


CASES = (
    _dynamic("dynamic"),
    _dynamic("dynamic_both_directions_by_row", attrs=', direction = "bidirectional"',
             directions=2, ws=np.tile(powers(4), (2, 4)), wz=np.zeros((2, 16), np.int8)),
    _dynamic("dynamic_uint8", w=uint8(1, 3, 16), wz=np.full(1, 120, np.uint8),
             r=uint8(1, HIDDEN, 16), rz=np.full(1, 128, np.uint8)),
    _dynamic("not_recurrent_zero_points", rz=np.ones(1, np.int8), fuses=False),
    _dynamic("not_another_activation", attrs=', activations = ["Sigmoid", "Relu", "Tanh"]',
             fuses=False),
    _static("static"),
    _static("static_float_input", x="d = Identity(x)"),
    _static("static_gru", "GRU", 3, attrs=", linear_before_reset = 1"),
    _static("static_rnn", "RNN", 1),
    _static("not_without_a_state", metadata="", fuses=False),
    _static("not_recurrent_zero_points_static", zero=np.array(3, np.int8), fuses=False),
)  # fmt: skip
