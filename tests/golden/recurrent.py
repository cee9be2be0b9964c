"""Recurrent layers: the product over all steps apart from the loop."""

from __future__ import annotations

import numpy as np

from colonnade.passes.split_recurrent import split_recurrent
from golden.builder import Case, weights


def _case(
    name: str,
    op: str,
    gates: int,
    *,
    attrs: str = "",
    directions: int = 1,
    outputs: str = "y",
    fuses: bool = True,
    element: str = "float",
) -> Case:
    """Five steps of two sequences, three features, four hidden values."""
    kind = {"float": np.float32, "double": np.float64}[element]
    constants = {
        "w": weights(directions, gates * 4, 3).astype(kind),
        "r": weights(directions, gates * 4, 4).astype(kind),
        "b": weights(directions, gates * 8).astype(kind),
    }
    declared = ", ".join(f"{element} {out}" for out in outputs.split(", ") if out)
    node = f"{outputs} = {op} <hidden_size = 4{attrs}> (x, w, r, b)"
    text = f"({element}[5,2,3] x) => ({declared}) {{ {node} }}"
    return Case(split_recurrent, name, text, constants, fuses)


CASES = (
    _case("lstm", "LSTM", 4, outputs="y, h, c"),
    _case("lstm_both_directions", "LSTM", 4, attrs=', direction = "bidirectional"', directions=2),
    _case("gru", "GRU", 3, outputs="y, h"),
    _case("gru_reset_behind", "GRU", 3, attrs=", linear_before_reset = 1"),
    _case("rnn_reverse", "RNN", 1, attrs=', direction = "reverse"'),
    _case("rnn_relu", "RNN", 1, attrs=', activations = ["Relu"]'),
    _case("lstm_clipped", "LSTM", 4, attrs=", clip = 0.5"),
    _case("lstm_coupled_gates", "LSTM", 4, attrs=", input_forget = 1"),
    _case("not_another_activation", "RNN", 1, attrs=', activations = ["Sigmoid"]', fuses=False),
    _case("not_double", "LSTM", 4, fuses=False, element="double"),
)
