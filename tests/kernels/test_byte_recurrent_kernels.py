"""Recurrent layers on bytes: integers against numpy bit for bit, every instruction set alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from colonnade import _core
from colonnade.ir import Node
from colonnade.reference.quantized_recurrent import OPS
from kernels.harness import AVAILABLE, each_isa, run_call
from tolerance import tolerance

KINDS = {
    "rnn_tanh": (0, 1),
    "rnn_relu": (1, 1),
    "lstm": (2, 4),
    "gru": (3, 3),
    "gru_behind": (4, 3),
}
Operands = dict[str, np.ndarray | None]


@dataclass(frozen=True)
class Layer:
    """Sizes and options of one layer."""

    kind: str
    batch: int
    hidden: int
    steps: int = 4
    direction: str = "forward"
    is_batch_first: bool = False
    has_lengths: bool = False
    has_states: bool = True
    is_measured: bool = False
    lowest: int = -127
    outputs: str = "yhc"
    h_zero: int = 128

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    @property
    def num_gates(self) -> int:
        return KINDS[self.kind][1]

    def swap(self, array: np.ndarray) -> np.ndarray:
        """States and gates as the layout has them."""
        return np.ascontiguousarray(np.swapaxes(array, 0, 1) if self.is_batch_first else array)


SIZES = [(1, 1), (2, 3), (3, 4), (1, 5), (5, 15), (2, 16), (7, 17), (4, 33), (6, 64), (13, 65)]
EXACT = [
    *(Layer("rnn_relu", *size) for size in SIZES),
    *(Layer("rnn_relu", *size, is_measured=True) for size in SIZES),
    Layer("rnn_relu", 5, 17, direction="reverse", has_lengths=True),
    Layer("rnn_relu", 5, 17, direction="bidirectional", has_lengths=True, is_measured=True),
    Layer("rnn_relu", 3, 20, is_batch_first=True, h_zero=0, outputs="h"),
    Layer("rnn_relu", 3, 20, has_states=False, h_zero=255),
    *(Layer("rnn_relu", *size, lowest=-128) for size in SIZES),
]
LAYERS = [
    *(Layer(kind, *size) for kind in KINDS for size in ((1, 16), (3, 33), (13, 65))),
    *(Layer(kind, 5, 18, direction="bidirectional", has_lengths=True) for kind in KINDS),
    *(Layer(kind, 5, 18, has_lengths=True, is_measured=True, is_batch_first=True)
      for kind in KINDS),
    *(Layer(kind, 5, 33, lowest=-128) for kind in KINDS),
    *(Layer(kind, 2, 21, has_states=False, outputs="h") for kind in KINDS),
]  # fmt: skip
SPLITS = {"tiles": (0, 1), "pairs": (0, 2), "items": (2, 1)}
"""items_per_unit and tiles_per_unit."""


def make_operands(layer: Layer) -> Operands:
    """Every eighth weight at an end of int8; sums of a state's row stay near 1."""
    rng = np.random.default_rng(layer.hidden + 100 * layer.batch)
    d, n, rows = layer.directions, layer.hidden, layer.num_gates * layer.hidden

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    r = rng.integers(layer.lowest, 128, (d, n, rows)).astype(np.int8)
    r.reshape(-1)[::8] = rng.choice([layer.lowest, 127], r.reshape(-1)[::8].shape)
    lengths = rng.integers(0, layer.steps + 1, layer.batch).astype(np.int32)
    state = layer.swap(2 * normal(d, layer.batch, n)) if layer.has_states else None
    is_lstm = layer.kind == "lstm"
    return {
        "gates": layer.swap(normal(layer.steps, layer.batch, d * rows)),
        "r": r,
        "r_scale": (rng.uniform(0.5, 1, (d, rows)) / (128 * n)).astype(np.float32),
        "hidden_bias": normal(d, n) if layer.kind == "gru_behind" else None,
        "peepholes": normal(d, 3 * n) if is_lstm else None,
        "lengths": lengths if layer.has_lengths else None,
        "h0": state,
        "c0": layer.swap(normal(d, layer.batch, n)) if is_lstm and layer.has_states else None,
        "h_scale": None if layer.is_measured else np.array([1 / 60], np.float32),
        "h_zero": None if layer.is_measured else np.array([layer.h_zero], np.uint8),
    }


def run_layer(
    layer: Layer, operands: Operands, isa: str, *, split: str = "tiles", threads: int = 1
) -> list[np.ndarray]:
    """y, y_h and, of an LSTM, y_c: those that the layer has as outputs."""
    kind, n, d = KINDS[layer.kind][0], layer.hidden, layer.directions
    lanes, _ = _core.choose_byte_recurrent(isa)
    given = dict(operands)
    r, scale = given.pop("r"), given.pop("r_scale")
    assert r is not None
    assert scale is not None
    sums = r.sum(axis=1, dtype=np.int32)
    packed = (
        _core.pack_byte_recurrent(kind, r, d, n, lanes),
        _core.pack_recurrent_scales(kind, scale, d, n, lanes),
        _core.pack_recurrent_sums(kind, sums, d, n, lanes),
    )
    gates, hidden_bias, peepholes, lengths, h0, c0, h_scale, h_zero = given.values()
    inputs = [gates, packed[0], hidden_bias, peepholes, lengths, h0, c0, *packed[1:], h_scale,
              h_zero]  # fmt: skip
    states = layer.swap(np.empty((d, layer.batch, n))).shape
    y = (layer.steps, d, layer.batch, n)
    shapes = {"y": (y[2], y[0], y[1], y[3]) if layer.is_batch_first else y, "h": states}
    shapes |= {"c": states} if layer.kind == "lstm" else {}
    made = [
        np.full(shapes[name], np.nan, np.float32)
        if name in layer.outputs and name in shapes
        else None
        for name in "yhc"
    ]
    work = np.full(4 * d * layer.batch * n, np.nan, np.float32)
    params = (
        kind, layer.steps, layer.batch, n, d, int(layer.direction == "reverse"),
        int(layer.is_batch_first), 0, math.inf, *SPLITS[split], int((r == -128).any()),
    )  # fmt: skip
    order = (0, 1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 7, 8, 9, 10)
    code, *_ = run_call(
        "qrecurrent", inputs, [work, *made], params, isa, order=order, threads=threads,
        constants=(1, 7, 8),
    )  # fmt: skip
    assert code == 0
    return [array for array in made if array is not None]


def exact_relu(layer: Layer, operands: Operands) -> list[np.ndarray]:
    """The layer in numpy, in the kernel's order of roundings: y and the last h."""
    gates, r, scale, lengths, h0 = (
        operands[name] for name in ("gates", "r", "r_scale", "lengths", "h0")
    )
    assert gates is not None
    assert r is not None
    assert scale is not None
    d, n, batch = layer.directions, layer.hidden, layer.batch
    gates = layer.swap(gates).reshape(layer.steps, batch, d, n)
    counts = np.full(batch, layer.steps) if lengths is None else lengths
    y = np.zeros((layer.steps, d, batch, n), np.float32)
    last = np.zeros((d, batch, n), np.float32) if h0 is None else layer.swap(h0).copy()
    for direction in range(d):
        is_reverse = layer.direction == "reverse" or direction == 1
        for step in range(layer.steps):
            rows = np.nonzero(counts > step)[0]
            at = counts[rows] - 1 - step if is_reverse else np.full(rows.shape, step)
            if not rows.size:
                continue
            h = last[direction, rows]
            total = np.zeros((rows.size, n), np.float32)
            if step or h0 is not None:
                integers, h_scale = quantized(h, operands)
                sums = integers @ r[direction].astype(np.int64)
                total = sums.astype(np.float32) * (h_scale * scale[direction])
            h = np.maximum(total + gates[at, rows, direction], np.float32(0))
            last[direction, rows] = y[at, direction, rows] = h
    made = {"y": y.transpose(2, 0, 1, 3) if layer.is_batch_first else y, "h": layer.swap(last)}
    return [array for name, array in made.items() if name in layer.outputs]


def quantized(h: np.ndarray, operands: Operands) -> tuple[np.ndarray, np.float32]:
    """Integers less their zero point, and the scale."""
    given, zero_point = operands["h_scale"], operands["h_zero"]
    if given is None or zero_point is None:
        low, high = np.float32(min(h.min(), 0)), np.float32(max(h.max(), 0))
        scale = (high - low) / np.float32(255)
        scale = scale if scale > 0 else np.float32(1)
        zero = np.clip(np.rint(-low / scale), 0, 255)
    else:
        scale, zero = given[0], np.float32(zero_point[0])
    steps = np.rint(h * (np.float32(1) / scale)) + zero
    return (np.clip(steps, 0, 255) - zero).astype(np.int64), np.float32(scale)


@each_isa
@pytest.mark.parametrize("layer", EXACT, ids=str)
def test_integers_are_exact(layer: Layer, isa: str) -> None:
    operands = make_operands(layer)
    for made, want in zip(
        run_layer(layer, operands, isa, threads=2), exact_relu(layer, operands), strict=True
    ):
        np.testing.assert_array_equal(made, want)


@each_isa
@pytest.mark.parametrize(
    "extreme", [(0, -128), (255, 127), (255, -128), (0, 127), (0, -127), (255, -127)], ids=str
)
def test_largest_sums(extreme: tuple[int, int], isa: str) -> None:
    byte, weight = extreme
    layer = Layer("rnn_relu", 2, 1030, steps=1, h_zero=255 - byte)
    operands = make_operands(layer)
    shape = (1, layer.batch, layer.hidden)
    operands |= {
        "r": np.full((1, 1030, 1030), weight, np.int8),
        "h0": np.full(shape, 1e9 if byte else -1e9, np.float32),
    }
    for made, want in zip(
        run_layer(layer, operands, isa), exact_relu(layer, operands), strict=True
    ):
        np.testing.assert_array_equal(made, want)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_same_bits_on_every_instruction_set_however_split(layer: Layer) -> None:
    operands = make_operands(layer)
    splits = [s for s in SPLITS if s != "items" or not layer.is_measured]
    made = {
        b"".join(a.tobytes() for a in run_layer(layer, operands, isa, split=s, threads=threads))
        for isa in AVAILABLE
        for s in splits
        for threads in (1, 2, 3)
    }
    assert len(made) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_measured", [False, True])
def test_one_step_is_that_of_the_reference(kind: str, is_measured: bool) -> None:
    """Of a state that is given, for the rounding of one step decides the integers of the next."""
    layer = Layer(kind, 3, 40, steps=1, is_measured=is_measured, direction="bidirectional")
    operands = make_operands(layer)
    attrs = {
        "kind": {"l": "LSTM", "g": "GRU", "r": "RNN"}[kind[0]],
        "activation": "relu" if kind == "rnn_relu" else "tanh",
        "direction": layer.direction,
        "linear_before_reset": int(kind == "gru_behind"),
        "hidden_size": layer.hidden,
    }
    node = Node("QRecurrent", (), (), attrs, "n", "colonnade", 1)
    want = OPS["colonnade", "QRecurrent"](node, *operands.values())
    top = max(float(np.abs(a).max()) for a in (operands["gates"], *want) if a is not None)
    # The second product of a GRU quantizes a value that is rounded: one step of one row more.
    step = 1 / 60 / layer.hidden if kind == "gru" else 0.0
    bound = 8 * tolerance(layer.hidden, top, 1.0) + step
    for made, exact in zip(run_layer(layer, operands, "portable"), want, strict=True):
        np.testing.assert_allclose(made, exact, rtol=0, atol=bound)


def test_a_part_of_the_batch_cannot_measure() -> None:
    layer = Layer("lstm", 3, 8, is_measured=True)
    with pytest.raises(ValueError, match="a part of the batch cannot measure the state"):
        run_layer(layer, make_operands(layer), "portable", split="items")


@pytest.mark.parametrize("length", [-1, 5])
def test_wrong_length_is_reported(length: int) -> None:
    layer = Layer("lstm", 2, 4, has_lengths=True)
    operands = make_operands(layer) | {"lengths": np.array([1, length], np.int32)}
    with pytest.raises(AssertionError):
        run_layer(layer, operands, "portable")


def test_small_operands_are_refused() -> None:
    layer = Layer("lstm", 2, 4)
    operands = make_operands(layer)
    with pytest.raises(ValueError, match="gates are too small"):
        run_layer(replace(layer, steps=5), operands, "portable")
