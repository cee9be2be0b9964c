"""Costs, sensitivities and the search on a model of three layers; no time is asserted on."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import colonnade
from colonnade.errors import InputError
from colonnade.search import Analysis, LayerCost, Subject, Target, analyze, open_subject, search
from colonnade.search import target as target_module
from colonnade.search.cost_table import CostTable, cost_key, make_table, measure_costs
from colonnade.search.levels import LEVELS, levels_of, with_zeros
from colonnade.search.sensitivity import interpolate, probes_of
from colonnade.search.target import choose
from colonnade.search.timing import Turns, time_in_turns
from colonnade.sparsity import parse_pattern

WIDTHS = (32, 64, 48, 8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured anew in each test."""
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path / "cache"))


def write_three(path: Path, activations: int = 1, scale: float = 1.0) -> Path:
    """Three products with Relu behind each. Half of the second layer's weights are all but 0."""
    rng = np.random.default_rng(3)
    nodes, tensors, value = [], [], "x"
    for number, (inputs, outputs) in enumerate(itertools.pairwise(WIDTHS)):
        weights = scale * rng.standard_normal((inputs, outputs)).astype(np.float32)
        if number == 1:
            weights[::2] *= 1e-6
        tensors.append(numpy_helper.from_array(weights, f"w{number}"))
        nodes.append(
            helper.make_node("MatMul", [value, f"w{number}"], [f"p{number}"], f"l{number}")
        )
        value = f"p{number}"
        for place in range(activations):
            made = f"r{number}" if place == activations - 1 else f"r{number}_{place}"
            nodes.append(helper.make_node("Relu", [value], [made], f"relu{number}_{place}"))
            value = made
    graph = helper.make_graph(
        nodes, "three",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTHS[0]])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", WIDTHS[-1]])], tensors,
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """See `write_three`."""
    return write_three(tmp_path / "three.onnx")


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


def test_costs_are_kept_by_what_the_model_is(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key_of(path: Path) -> str:
        one = opened(path)
        return cost_key(one.graph, one.layers, one.pattern, one.timed, 1, (0.0, 0.5))

    key = key_of(model)
    assert key_of(write_three(tmp_path / "again.onnx")) == key
    assert key_of(write_three(tmp_path / "trained.onnx", scale=2.0)) == key
    assert key_of(write_three(tmp_path / "longer.onnx", activations=4)) != key
    assert key_of(write_three(tmp_path / "zeros.onnx", scale=0.0)) != key
    monkeypatch.setenv("COLONNADE_STRIPES", "off")
    assert key_of(model) != key


def test_layers_take_no_longer_than_the_model() -> None:
    rows = {"a": [6.0, 3.0, 7.0], "b": [4.0, 4.5, 2.0]}
    table = make_table("unstructured", (0.0, 0.5, 0.9), rows, dense_ms=5.0)
    assert table.layers == {"a": (3.0, 1.5, 1.5), "b": (2.0, 2.0, 1.0)}
    assert (table.rest_ms, table.least_ms) == (0.0, 2.5)
    roomy = make_table("unstructured", (0.0, 0.5, 0.9), rows, dense_ms=12.0)
    assert roomy.layers == {"a": (6.0, 3.0, 3.0), "b": (4.0, 4.0, 2.0)}
    assert roomy.rest_ms == 2.0


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
        model=subject.path.name, content=subject.content, pattern=str(subject.pattern),
        method=subject.method, levels=levels, probes=probes_of(levels), layers=layers,
        dense_ms=4.0, rest_ms=1.0, least_ms=1.2, threads=1, inputs=subject.timed_shapes,
    )  # fmt: skip


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


def test_a_speed_that_is_there_already_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = opened(model)
    gains(monkeypatch, 1.0)
    with pytest.raises(InputError, match=r"10000 ms: the model already takes 4\.00 ms"):
        search(subject, Target(latency_ms=10000), analysis_of(subject))
    with pytest.raises(InputError, match=r"4 ms: the model already takes 4\.00 ms"):
        search(subject, Target(latency_ms=4.0), analysis_of(subject))


def test_a_choice_without_zeros_is_none(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faster than was forecast: the corrected budget is as large as the dense model."""
    subject = opened(model)
    gains(monkeypatch, 0.5)
    found = search(subject, Target(speedup=1.01), analysis_of(subject))
    assert found.shares
    assert all(one.sparsity > 0 for one in found.rounds)


def test_zeros_that_gain_nothing(model: Path) -> None:
    subject = opened(model)
    known = analysis_of(subject)
    layers = tuple(replace(layer, ms=(1.0,) * len(LEVELS)) for layer in known.layers)
    with pytest.raises(InputError, match="no layer is faster with unstructured zeros"):
        search(subject, Target(speedup=2.0), replace(known, layers=layers))


def test_the_highest_sparsity_is_reached_in_spite_of_rounding(model: Path) -> None:
    subject = opened(model, method="magnitude")
    found = search(subject, Target(sparsity=0.95), analysis_of(subject))
    assert set(found.shares.values()) == {0.95}


def test_a_name_that_no_layer_has_is_refused(model: Path) -> None:
    with pytest.raises(InputError, match=r"exclude 'typo\*': no layer has this name; \['l0', "):
        opened(model, exclude=["l1", "typo*"])


def test_nothing_to_prune(model: Path) -> None:
    subject = opened(model, exclude=["l*"])
    with pytest.raises(InputError, match=r"three\.onnx: no layer can have pattern unstructured"):
        search(subject, Target(speedup=2.0))


def test_targets() -> None:
    with pytest.raises(InputError, match="give one target"):
        Target()
    with pytest.raises(InputError, match="give one target"):
        Target(speedup=2, sparsity=0.5)
    for speedup in (0.5, math.inf, math.nan):
        with pytest.raises(InputError, match="expected more than 1"):
            Target(speedup=speedup)
    for latency_ms in (0.0, math.inf, math.nan):
        with pytest.raises(InputError, match="expected more than 0"):
            Target(latency_ms=latency_ms)


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
    with pytest.raises(InputError, match="the analysis is of method sparsegpt, and this is wanda"):
        again.check(opened(model, method="wanda"))
    with pytest.raises(InputError, match="the analysis is of layers 'l1', which"):
        again.check(opened(model, exclude=["l1"]))
    copy = model.rename(model.with_name("copy.onnx"))
    again.check(opened(copy))
    with pytest.raises(InputError, match=r"of three\.onnx, and three\.onnx has other .* weights"):
        again.check(opened(write_three(model, scale=2.0)))


def test_an_analysis_says_which_levels_were_measured(model: Path) -> None:
    assert analyze(opened(model, method="magnitude")).probes == (0.5, 0.9)
    assert analyze(opened(model, method="magnitude", pattern="1:4")).probes == (0.75,)


def test_batch_is_what_is_timed(model: Path) -> None:
    assert opened(model).timed["x"].shape == (16, WIDTHS[0])
    repeated = opened(model, batch=40).timed["x"]
    np.testing.assert_array_equal(repeated[16:32], samples()[0]["x"])
    assert repeated.shape == (40, WIDTHS[0])
