"""Layers go back to float32 until a target holds; sensitivities order them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest

import colonnade
from colonnade.ir import Graph
from colonnade.quantization import Quantized, Speed, Target, search
from unit.quantization import nets

CHAIN = """
(float[N,16] x) => (float[N,16] y) {
  a0 = MatMul(x, w1)  a = Tanh(a0)
  b0 = MatMul(a, w2)  b = Tanh(b0)
  c0 = MatMul(b, w3)  c = Tanh(c0)
  y = MatMul(c, w4)
}"""
SHAPES = {f"w{i}": (16, 16) for i in range(1, 5)}
SAMPLES = nets.samples((6, 16), 4)


@cache
def model() -> onnx.ModelProto:
    """The third layer's weights have outliers that per-tensor scales suffer from."""
    made = nets.make_model(CHAIN, SHAPES)
    for number, node in enumerate(made.graph.node):
        node.name = f"layer_{number}"
    tensor = made.graph.initializer[2]
    array = onnx.numpy_helper.to_array(tensor).copy()
    array[5, 5] = 40.0
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return made


def quantized(**options: Any) -> Quantized:
    return colonnade.quantize(model(), SAMPLES, per_channel=False, threads=1, **options)


def in_float32(made: Quantized) -> list[str]:
    return [layer.name for layer in made.report.layers if layer.precision == "float32"]


def test_the_outlier_is_the_most_sensitive_layer() -> None:
    layers = quantized(sensitivity=True).report.layers
    found = {layer.name: layer.sensitivity_db for layer in layers}
    assert min(found, key=lambda name: found[name] or np.inf) == "layer_4"
    assert all(value is not None for value in found.values())


def test_no_target_moves_nothing() -> None:
    assert in_float32(quantized()) == []
    assert quantized().report.targets == ()


def test_a_ratio_holds_with_as_few_layers_in_float32_as_need_be() -> None:
    plain = quantized().report.outputs[0].sqnr_db
    easy = quantized(target=Target(min_sqnr_db=plain - 1))
    assert in_float32(easy) == []
    made = quantized(target=Target(min_sqnr_db=plain + 6))
    assert in_float32(made) == ["layer_4"]
    assert made.report.outputs[0].sqnr_db >= plain + 6
    (line,) = made.report.targets
    assert line.endswith(": holds")
    why = {layer.name: layer.why for layer in made.report.layers}["layer_4"]
    assert "when it alone is in 8 bits" in why


def test_an_error_of_nothing_leaves_everything_in_float32() -> None:
    made = quantized(target=Target(max_error=0.0))
    assert len(in_float32(made)) == 4
    assert made.report.outputs[0].max_error == 0.0
    assert not any(node.op == "QuantizeLinear" for node in made.graph.nodes)


def test_a_metric_of_the_users() -> None:
    reference = colonnade.compile(model(), threads=1).run(SAMPLES[0])["y"]
    calls = []

    def metric(run: search.Run) -> float:
        found = run(SAMPLES[0])["y"]
        calls.append(float(-np.abs(found - reference).max()))
        return calls[-1]

    assert in_float32(quantized(target=Target(metric=metric, max_drop=1e9))) == []
    plain = calls[1]
    made = quantized(target=Target(metric=metric, max_drop=-plain / 2))
    assert "layer_4" in in_float32(made)
    assert made.report.targets[0].endswith(": holds")


def test_a_metric_that_returns_nothing() -> None:
    for value in (None, float("nan")):
        with pytest.raises(colonnade.InputError, match="expected a finite number"):
            quantized(target=Target(metric=lambda _, value=value: value))


def speeds_of(cost: Mapping[int, float]) -> Any:
    """In place of the clock: the speed of a graph with so many 8-bit products."""

    def measure(_: Graph, made: Graph, *__: object) -> Speed:
        count = sum(
            node.op == "DequantizeLinear" and node.inputs[0].endswith("weight/quantized")
            for node in made.nodes
        )
        return Speed(float32_ms=1.0, quantized_ms=1 / cost[count])

    return measure


@pytest.mark.parametrize(
    ("wanted", "num_float32", "words"),
    [(1.5, 2, "holds"), (2.5, 0, "holds"), (3.0, 0, "DOES NOT HOLD"), (0.5, 4, "holds")],
)
def test_layers_go_back_as_long_as_the_speed_holds(
    wanted: float, num_float32: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = speeds_of({0: 1.0, 1: 1.2, 2: 1.6, 3: 2.0, 4: 2.5})
    monkeypatch.setattr(search, "measure_speed", speeds)
    made = quantized(target=Target(speedup=wanted))
    assert len(in_float32(made)) == num_float32
    assert made.report.targets[0].endswith(words)
    if num_float32:
        assert "layer_4" in in_float32(made)


def test_speed_is_measured_in_turns() -> None:
    speed = quantized(measure=True).report.speed
    assert speed is not None
    assert speed.float32_ms > 0
    assert speed.ratio == speed.float32_ms / speed.quantized_ms
