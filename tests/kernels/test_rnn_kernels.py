"""Recurrent layers on every instruction set, against the float64 reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from colonnade import _core
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
    outputs: str = "yhc"
    clip: float = 0.0
    couples_gates: bool = False

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    @property
    def num_gates(self) -> int:
        return KINDS[self.kind][1]

    def swap(self, array: np.ndarray) -> np.ndarray:
        """States and gates as the layout has them."""
        return np.ascontiguousarray(np.swapaxes(array, 0, 1) if self.is_batch_first else array)


BATCHES = (1, 2, 5, 8, 9, 16, 17, 33)
LAYERS = [
    *(Layer(kind, batch, hidden) for kind in KINDS for batch, hidden in ((1, 1), (4, 16), (6, 33))),
    *(Layer(kind, batch, 20 + batch) for kind in KINDS for batch in BATCHES),
    *(Layer(kind, 1, hidden) for kind in KINDS for hidden in (15, 16, 17, 63, 64, 65, 130)),
    *(Layer(kind, 3, 20, direction="reverse", has_lengths=True) for kind in KINDS),
    *(Layer(kind, 5, 17, direction="bidirectional", has_lengths=True, has_states=True)
      for kind in KINDS),
    *(Layer(kind, 14, 18, direction="bidirectional", has_lengths=True, outputs="hc")
      for kind in KINDS),
    *(Layer(kind, 2, 40, is_batch_first=True, has_states=True) for kind in KINDS),
    *(Layer(kind, 3, 19, has_states=True, outputs="h") for kind in KINDS),
    *(Layer(kind, 3, 21, clip=0.3) for kind in KINDS),
    Layer("lstm", 3, 21, couples_gates=True, has_states=True),
    Layer("lstm", 3, 21, couples_gates=True, clip=0.3),
]  # fmt: skip
SPLITS = {"units": 0, "items": 2, "packs": 0, "sparse": 0, "sparse_items": 2}
"""Threads share hidden units; two items a unit; as the first, with r packed in the run; the first
two on sparse weights."""


def make_operands(layer: Layer, density: float = 1.0) -> dict[str, np.ndarray | None]:
    """Rows of r sum to less than 1 in magnitude, so that errors do not grow from step to step.

    `density`: share of r that is not zero.
    """
    rng = np.random.default_rng(layer.hidden)
    d, n, rows = layer.directions, layer.hidden, layer.num_gates * layer.hidden

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    state = normal(d, layer.batch, n) if layer.has_states else None
    cell = normal(d, layer.batch, n) if layer.has_states and layer.kind == "lstm" else None
    return {
        "gates": layer.swap(normal(STEPS, layer.batch, d * rows)),
        "r": (rng.uniform(-1, 1, (d, n, rows)) / n).astype(np.float32)
        * (rng.random((d, n, rows)) < density),
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
        "input_forget": int(layer.couples_gates),
    }
    attrs |= {"clip": layer.clip} if layer.clip else {}
    node = Node("Recurrent", (), (), attrs, "n", "colonnade", 1)
    wide = [
        None if a is None else a.astype(np.float64) if a.dtype == np.float32 else a
        for a in operands.values()
    ]
    return OPS["colonnade", "Recurrent"](node, *wide)


def run_layer(
    layer: Layer,
    operands: dict[str, np.ndarray | None],
    outputs: list[np.ndarray | None],
    isa: str,
    *,
    split: str = "units",
    threads: int = 1,
    packed: np.ndarray | None = None,
    steps: int = STEPS,
) -> tuple[int, int, int, int, str]:
    kind, n, d = KINDS[layer.kind][0], layer.hidden, layer.directions
    lanes, _ = _core.choose_recurrent(isa)
    r = operands["r"]
    assert r is not None
    floats = _core.recurrent_packed_floats(kind, d, n, lanes)
    weights = r
    is_sparse = split.startswith("sparse")
    if is_sparse:
        weights = _core.pack_sparse_recurrent(kind, r, d, n, lanes) if packed is None else packed
    elif split != "packs":
        weights = _core.pack_recurrent(kind, r, d, n, lanes) if packed is None else packed
    room = 4 * d * layer.batch * n + (floats if split == "packs" else 0)
    work = np.full(room, np.nan, np.float32)
    params = (
        kind, steps, layer.batch, n, d, int(layer.direction == "reverse"),
        int(layer.is_batch_first), int(layer.couples_gates), layer.clip or math.inf, SPLITS[split],
        int(is_sparse),
    )  # fmt: skip
    inputs = list({**operands, "r": weights}.values())
    return run_call(
        "recurrent", inputs, [work, *outputs], params, isa, threads=threads,
        constants=(1,) if split != "packs" else (),
    )  # fmt: skip


@each_isa
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layer(layer: Layer, split: str, isa: str) -> None:
    operands = make_operands(layer, 0.3 if split.startswith("sparse") else 1.0)
    want = expected(layer, operands)
    got: list[np.ndarray | None] = [
        np.full(array.shape, np.nan, np.float32) if name in layer.outputs else None
        for name, array in zip("yhc", want, strict=False)
    ]
    outputs = [*got, *[None] * (3 - len(got))]
    code, *_ = run_layer(layer, operands, outputs, isa, split=split, threads=2)
    assert code == 0
    gates = operands["gates"]
    assert gates is not None
    top = max(float(np.abs(array).max()) for array in (gates, *want))
    # Each step adds the error of its sums; peepholes hand on that of the cell.
    bound = 4 * STEPS * tolerance(layer.hidden + 4, top, 1.0)
    for made, exact in zip(got, want, strict=True):
        if made is not None:
            np.testing.assert_allclose(made, exact, rtol=0, atol=bound)


@each_isa
@pytest.mark.parametrize("density", [1.0, 0.5, 0.05])
@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_however_split(kind: str, density: float, isa: str) -> None:
    layer = Layer(kind, 17, 70, direction="bidirectional", has_lengths=True, has_states=True)
    operands = make_operands(layer, density)
    made = []
    for split, threads in (
        ("units", 1), ("units", 2), ("units", 3), ("items", 2), ("packs", 2), ("sparse", 1),
        ("sparse", 3), ("sparse_items", 2),
    ):  # fmt: skip
        y = np.full((STEPS, 2, layer.batch, layer.hidden), np.nan, np.float32)
        code, *_ = run_layer(layer, operands, [y, None, None], isa, split=split, threads=threads)
        assert code == 0
        made.append(y.tobytes())
    assert len(set(made)) == 1


@pytest.mark.parametrize("length", [-1, STEPS + 1])
def test_wrong_length_is_reported(length: int) -> None:
    layer = Layer("lstm", 2, 4, has_lengths=True)
    operands = make_operands(layer)
    operands["lengths"] = np.array([1, length], np.int32)
    y = np.zeros((STEPS, 1, 2, 4), np.float32)
    code, position, value, limit, _ = run_layer(layer, operands, [y, None, None], "portable")
    assert (code, position, value, limit) == (1, 1, length, STEPS + 1)


def test_small_operands_are_refused() -> None:
    layer = Layer("lstm", 2, 4)
    operands = make_operands(layer)
    with pytest.raises(ValueError, match="r is too small"):
        run_layer(
            layer, operands, [None] * 3, "portable", packed=np.zeros(4 * 4 * 4 - 1, np.float32)
        )


@each_isa
@pytest.mark.parametrize("hidden", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_few_nonzeros(kind: str, hidden: int, isa: str) -> None:
    """None at all, and a single one in the first and in the last row and column of r."""
    layer = Layer(kind, 2, hidden, has_states=True)
    operands = make_operands(layer, 0.0)
    r = operands["r"]
    assert r is not None
    for k, column in ((None, None), (0, -1), (-1, 0), (-1, -1)):
        r[:] = 0
        if k is not None:
            r[0, k, column] = 0.5
        made = {}
        for split in ("units", "sparse"):
            y = np.full((STEPS, 1, 2, hidden), np.nan, np.float32)
            code, *_ = run_layer(layer, operands, [y, None, None], isa, split=split)
            assert code == 0
            made[split] = y
        assert made["sparse"].tobytes() == made["units"].tobytes()


@each_isa
@pytest.mark.parametrize("kind", KINDS)
def test_zeros_do_not_multiply(kind: str, isa: str) -> None:
    """NaN in one element of h reaches the units with a weight there, and no others."""
    layer = Layer(kind, 1, 40, has_states=True, outputs="h")
    operands = make_operands(layer, 0.1)
    h0, r = operands["h0"], operands["r"]
    assert h0 is not None and r is not None
    h0[0, 0, 11] = np.nan
    operands["gates"] = operands["gates"][:1]
    gates = [0, 2] if kind == "gru" else list(range(layer.num_gates))
    reached = (r[0, 11].reshape(layer.num_gates, 40)[gates] != 0).any(axis=0)
    reached[11] |= kind.startswith("gru")  # which keeps a share of h itself
    y = np.zeros((1, 1, 1, 40), np.float32)
    code, *_ = run_layer(layer, operands, [y, None, None], isa, split="sparse", steps=1)
    assert code == 0
    found = np.isnan(y[0, 0, 0])
    if kind == "gru":  # a reset gate hands on to the second product
        assert found[reached].all() and not found.all()
    else:
        np.testing.assert_array_equal(found, reached)


def _damaged(packed: np.ndarray, at: int, value: int) -> np.ndarray:
    bytes_ = packed.view(np.uint8).copy()
    bytes_[at : at + 2] = np.array([value], np.uint16).view(np.uint8)
    return bytes_


def test_damaged_sparse_weights_are_refused() -> None:
    layer = Layer("lstm", 2, 20)
    operands = make_operands(layer, 0.5)
    packed = _core.pack_sparse_recurrent(2, operands["r"], 1, 20, 4).view(np.uint8)
    first = int(packed[:8].view(np.int64)[0])
    for bad, why in (
        (packed[:16], "too small"),
        (_damaged(packed, 0, first - 8), "table of sparse parts"),
        (_damaged(packed, 8, first + 1), "part is damaged"),
        (_damaged(packed, first, 18), "window is out of range"),
    ):
        with pytest.raises(ValueError, match=why):
            run_layer(layer, operands, [None] * 3, "portable", split="sparse", packed=bad)
