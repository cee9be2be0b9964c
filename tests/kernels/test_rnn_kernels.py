"""Recurrent layers on every instruction set, against the float64 reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from colonnade.ir import Node
from colonnade.reference.rnn import OPS
from kernels.harness import each_isa, run_call
from tolerance import tolerance

KINDS = {
    "rnn_tanh": (0, 1),
    "rnn_relu": (1, 1),
    "lstm": (2, 4),
    "gru": (3, 3),
    "gru_behind": (4, 3),
}
STEPS = 5


@dataclass(frozen=True)
class Layer:
    """Sizes and options of one layer."""

    kind: str
    batch: int
    hidden: int
    direction: str = "forward"
    is_batch_first: bool = False
    has_lengths: bool = False
    has_states: bool = False

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    @property
    def num_gates(self) -> int:
        return KINDS[self.kind][1]

    def swap(self, array: np.ndarray) -> np.ndarray:
        """States and gates as the layout has them."""
        return np.ascontiguousarray(np.swapaxes(array, 0, 1) if self.is_batch_first else array)


LAYERS = [
    *(Layer(kind, batch, hidden) for kind in KINDS for batch, hidden in ((1, 1), (4, 16), (6, 33))),
    *(Layer(kind, 3, 20, direction="reverse", has_lengths=True) for kind in KINDS),
    *(Layer(kind, 5, 17, direction="bidirectional", has_lengths=True, has_states=True)
      for kind in KINDS),
    *(Layer(kind, 2, 40, is_batch_first=True, has_states=True) for kind in KINDS),
]  # fmt: skip


def make_operands(layer: Layer) -> dict[str, np.ndarray | None]:
    """Rows of r sum to less than 1 in magnitude, so that errors do not grow from step to step."""
    rng = np.random.default_rng(layer.hidden)
    d, n, rows = layer.directions, layer.hidden, layer.num_gates * layer.hidden

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    state = normal(d, layer.batch, n) if layer.has_states else None
    cell = normal(d, layer.batch, n) if layer.has_states and layer.kind == "lstm" else None
    return {
        "gates": layer.swap(normal(STEPS, layer.batch, d * rows)),
        "r": (rng.uniform(-1, 1, (d, n, rows)) / n).astype(np.float32),
        "hidden_bias": normal(d, n) if layer.kind == "gru_behind" else None,
        "peepholes": normal(d, 3 * n) if layer.kind == "lstm" else None,
        "lengths": rng.integers(0, STEPS + 1, layer.batch).astype(np.int32)
        if layer.has_lengths
        else None,
        "h0": None if state is None else layer.swap(state),
        "c0": None if cell is None else layer.swap(cell),
    }


def expected(layer: Layer, operands: dict[str, np.ndarray | None]) -> tuple[np.ndarray, ...]:
    attrs = {
        "kind": {"l": "LSTM", "g": "GRU", "r": "RNN"}[layer.kind[0]],
        "activation": "relu" if layer.kind == "rnn_relu" else "tanh",
        "direction": layer.direction,
        "layout": int(layer.is_batch_first),
        "linear_before_reset": int(layer.kind == "gru_behind"),
        "hidden_size": layer.hidden,
    }
    node = Node("Recurrent", (), (), attrs, "n", "colonnade", 1)
    wide = [
        None if a is None else a.astype(np.float64) if a.dtype == np.float32 else a
        for a in operands.values()
    ]
    return OPS["colonnade", "Recurrent"](node, *wide)


@each_isa
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layer(layer: Layer, isa: str) -> None:
    operands = make_operands(layer)
    want = expected(layer, operands)
    got = [np.full(array.shape, np.nan, np.float32) for array in want]
    outputs = [*got, *[None] * (3 - len(got))]
    params = (
        KINDS[layer.kind][0], STEPS, layer.batch, layer.hidden, layer.directions,
        int(layer.direction == "reverse"), int(layer.is_batch_first),
    )  # fmt: skip
    code, *_ = run_call("recurrent", list(operands.values()), outputs, params, isa, threads=2)
    assert code == 0
    gates = operands["gates"]
    assert gates is not None
    top = max(float(np.abs(array).max()) for array in (gates, *want))
    # Each step adds the error of its sums; peepholes hand on that of the cell.
    bound = 4 * STEPS * tolerance(layer.hidden + 4, top, 1.0)
    for made, exact in zip(got, want, strict=True):
        np.testing.assert_allclose(made, exact, rtol=0, atol=bound)


@pytest.mark.parametrize("length", [-1, STEPS + 1])
def test_wrong_length_is_reported(length: int) -> None:
    layer = Layer("lstm", 2, 4, has_lengths=True)
    operands = make_operands(layer)
    operands["lengths"] = np.array([1, length], np.int32)
    y = np.zeros((STEPS, 1, 2, 4), np.float32)
    params = (2, STEPS, 2, 4, 1, 0, 0)
    code, position, value, limit, _ = run_call(
        "recurrent", list(operands.values()), [y, None, None], params, "portable"
    )
    assert (code, position, value, limit) == (1, 1, length, STEPS + 1)


def test_small_operands_are_refused() -> None:
    layer = Layer("lstm", 2, 4)
    operands = make_operands(layer)
    r = operands["r"]
    assert r is not None
    operands["r"] = r[:, :-1]
    with pytest.raises(ValueError, match="r is too small"):
        run_call(
            "recurrent", list(operands.values()), [None] * 3, (2, STEPS, 2, 4, 1, 0, 0), "avx2"
        )
