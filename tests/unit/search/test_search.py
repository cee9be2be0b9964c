"""Costs, sensitivities and the search on a model of three layers; no time is asserted on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import colonnade
from colonnade.errors import InputError
from colonnade.search import Analysis, LayerCost, Subject, Target, analyze, open_subject, search
from colonnade.search import target as target_module
from colonnade.search.cost_table import CostTable, measure_costs
from colonnade.search.levels import LEVELS, levels_of, with_zeros
from colonnade.search.sensitivity import interpolate
from colonnade.search.target import choose
from colonnade.search.timing import Turns, time_in_turns
from colonnade.sparsity import parse_pattern

WIDTHS = (32, 64, 48, 8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured anew in each test."""
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Three products with Relu between them. Half of the second layer's weights are all but 0."""
    rng = np.random.default_rng(3)
    nodes, tensors, value = [], [], "x"
    for number, (inputs, outputs) in enumerate(itertools.pairwise(WIDTHS)):
        weights = rng.standard_normal((inputs, outputs)).astype(np.float32)
        if number == 1:
            weights[::2] *= 1e-6
        tensors.append(numpy_helper.from_array(weights, f"w{number}"))
        nodes.append(
            helper.make_node("MatMul", [value, f"w{number}"], [f"p{number}"], f"l{number}")
        )
        value = f"r{number}"
        nodes.append(helper.make_node("Relu", [f"p{number}"], [value], f"relu{number}"))
    graph = helper.make_graph(
        nodes, "three",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTHS[0]])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", WIDTHS[-1]])], tensors,
    )  # fmt: skip
    path = tmp_path / "three.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def samples() -> list[dict[str, np.ndarray]]:
    """Four batches."""
    rng = np.random.default_rng(4)
    return [{"x": rng.standard_normal((16, WIDTHS[0])).astype(np.float32)} for _ in range(4)]


def opened(model: Path, **options: object) -> Subject:
    """On one thread."""
    return open_subject(model, samples(), threads=1, **options)  # type: ignore[arg-type]


def test_analysis(model: Path) -> None:
    found = analyze(opened(model))
    assert [layer.name for layer in found.layers] == ["l0", "l1", "l2"]
    assert found.levels == LEVELS
    for layer in found.layers:
        assert len(layer.ms) == len(layer.errors) == len(LEVELS)
        assert all(left >= right for left, right in itertools.pairwise(layer.ms))
        assert layer.ms[0] > 0
        assert layer.errors[0] == 0
    half = LEVELS.index(0.5)
    first, second, _ = (layer.errors[half] for layer in found.layers)
    assert second < 1e-6 < first
    json.dumps(found.to_dict(), allow_nan=False)


def test_costs_are_kept(model: Path, tmp_path: Path) -> None:
    subject = opened(model, pattern="2:4")
    arguments = (subject.graph, subject.layers, subject.pattern, subject.timed, subject.runtime)
    found = measure_costs(*arguments)
    assert found.levels == (0.0, 0.5)
    assert measure_costs(*arguments) == found
    (file,) = (tmp_path / "cache" / "costs").iterdir()
    file.write_text("{broken")
    assert measure_costs(*arguments).layers.keys() == found.layers.keys()
    assert json.loads(file.read_text())["tables"]


def analysis_of(subject: Subject) -> Analysis:
    """A made-up one: time falls with the zeros, the last layer is the most sensitive."""
    levels = levels_of(subject.pattern)
    layers = tuple(
        LayerCost(
            layer.name, layer.op, layer.shape, tuple(1.0 - level for level in levels),
            tuple(10.0**number * level for level in levels),
        )
        for number, layer in enumerate(subject.layers)
    )  # fmt: skip
    return Analysis(
        subject.path.name,
        str(subject.pattern),
        levels,
        layers,
        4.0,
        1.0,
        1.2,
        1,
        subject.timed_shapes,
    )


def gains(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Times as the made-up analysis says, but `factor` times as long for the layers."""

    def measure(subject: Subject, sparse: object, seconds: float = 0.0) -> Turns:
        kept = [(sparse.constants[x.weights] != 0).mean() for x in subject.layers]  # type: ignore[attr-defined]
        return Turns((4.0, 1.0 + factor * float(sum(kept))), 1)

    monkeypatch.setattr(target_module, "measure_gain", measure)


@pytest.mark.parametrize("factor", [1.0, 0.8, 1.3])
def test_the_budget_is_corrected(
    model: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    subject = opened(model)
    gains(monkeypatch, factor)
    found = search(subject, Target(speedup=2.0), analysis_of(subject))
    assert found.is_met
    assert found.measured == pytest.approx(2.0, rel=0.1)
    assert found.shares["l0"] >= found.shares.get("l2", 0.0)
    engine = colonnade.compile(found.pruned.to_bytes())
    assert engine.run(samples()[0])["r2"].shape == (16, 8)


def test_milliseconds_are_a_speed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = opened(model)
    gains(monkeypatch, 1.0)
    found = search(subject, Target(latency_ms=2.0), analysis_of(subject))
    assert found.asked == 2.0
    assert found.sparse_ms == pytest.approx(2.0, rel=0.1)


def test_what_cannot_be_reached_is_said(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = opened(model)
    gains(monkeypatch, 1.0)
    found = search(subject, Target(speedup=8.0), analysis_of(subject))
    assert not found.is_met
    assert "asked for 8.00 times, at most 3.4" in found.why
    assert set(found.shares.values()) == {LEVELS[-1]}


def test_a_sparsity_goes_to_the_layers_that_bear_it(model: Path) -> None:
    subject = opened(model)
    found = search(subject, Target(sparsity=0.6), analysis_of(subject))
    assert found.asked is None
    assert found.pruned.report.zeros / found.pruned.report.all_weights >= 0.59
    assert found.shares["l0"] > found.shares.get("l2", 0.0)
    with pytest.raises(InputError, match=r"goes up to 0\.95"):
        search(subject, Target(sparsity=0.99), analysis_of(subject))


def test_nothing_to_prune(model: Path) -> None:
    subject = opened(model, exclude=["l*"])
    with pytest.raises(InputError, match=r"three\.onnx: no layer can have pattern unstructured"):
        search(subject, Target(speedup=2.0))


def test_targets() -> None:
    with pytest.raises(InputError, match="give one target"):
        Target()
    with pytest.raises(InputError, match="give one target"):
        Target(speedup=2, sparsity=0.5)
    with pytest.raises(InputError, match="expected more than 1"):
        Target(speedup=0.5)


def test_zeros(model: Path) -> None:
    subject = opened(model)
    shares = {"l0": 0.75, "l1": 0.0, "l2": 0.5}
    made = with_zeros(subject.graph, subject.layers, shares, parse_pattern("1x4"))
    for name, share in zip(("w0", "w1", "w2"), shares.values(), strict=True):
        assert float((made.constants[name] == 0).mean()) == pytest.approx(share, abs=0.01)


def test_interpolation() -> None:
    found = interpolate((0.5, 0.9), (0.01, 1.0), (0.0, 0.5, 0.8, 0.9, 0.95))
    assert found[:2] == (0.0, pytest.approx(0.01))
    assert found[3] == pytest.approx(1.0)
    assert 0.01 < found[2] < 1.0 < found[4]
    assert interpolate((0.5,), (0.3,), (0.0, 0.5)) == (0.0, 0.3)


def test_choose_below_the_cheapest() -> None:
    table = CostTable("unstructured", (0.0, 0.5), {"a": (2.0, 1.0)}, 3.0)
    assert choose(table, {"a": (0.0, 1.0)}, 0.5) == {"a": 0.5}
    assert choose(table, {"a": (0.0, 1.0)}, 2.5) == {"a": 0.0}
    assert (table.rest_ms, table.least_ms) == (1.0, 2.0)


def test_turns(model: Path) -> None:
    ticks = iter(range(10**6))
    with colonnade.compile(model) as engine:
        found = time_in_turns([engine, engine], samples()[0], 0.0, lambda: float(next(ticks)))
    assert found.ms == (1000.0, 1000.0)
    assert found.gain() == 1.0


def test_analysis_is_read_back_and_refused_for_another_subject(model: Path) -> None:
    found = analyze(opened(model))
    again = Analysis.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    again.check(opened(model))
    with pytest.raises(InputError, match="the analysis is of inputs"):
        again.check(opened(model, batch=8))
    with pytest.raises(InputError, match="the analysis is of pattern"):
        again.check(opened(model, pattern="1x4"))


def test_batch_is_what_is_timed(model: Path) -> None:
    assert opened(model).timed["x"].shape == (16, WIDTHS[0])
    repeated = opened(model, batch=40).timed["x"]
    np.testing.assert_array_equal(repeated[16:32], samples()[0]["x"])
    assert repeated.shape == (40, WIDTHS[0])
