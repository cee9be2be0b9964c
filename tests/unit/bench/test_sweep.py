"""Sweeps over levels of sparsity: real workers on a small model, break-even, reports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from colonnade.bench import sweep as sweep_module
from colonnade.bench.compare import Feed, Workload
from colonnade.bench.harness import Schedule
from colonnade.bench.peers import InputSpec, Worker
from colonnade.bench.plot import plot_sweep
from colonnade.bench.summary import Ratio
from colonnade.bench.sweep import DENSE, Sweep, SweepResult, find_break_even, run_sweep
from colonnade.bench.sweep_report import (
    SWEEP_FIELDS,
    break_even_lines,
    sweep_csv,
    sweep_document,
    sweep_table,
)
from colonnade.errors import InputError, ModelError
from tiny_model import write_tiny_model

QUICK = Schedule(seconds=0.02, warm_up_s=0.0, turn_s=0.005, rounds_min=2)
FEATURES, OUTPUTS = 64, 32
LEVELS = (0.0, 0.5, 0.9)


def make_feed(specs: Sequence[InputSpec]) -> Feed:
    return Feed({"x": np.ones((4, FEATURES), np.float32)}, 4, ("a note",))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    return write_tiny_model(folder / "wide.onnx", features=FEATURES, outputs=OUTPUTS)


@pytest.fixture(scope="module")
def workload(model: Path) -> Workload:
    return Workload(model, ("colonnade", "onnxruntime"), 1, schedule=QUICK)


@pytest.fixture(scope="module")
def found(workload: Workload) -> SweepResult:
    return run_sweep(Sweep(workload, (0.9, 0.5), "1x4"), make_feed)


def test_every_level_in_every_engine(found: SweepResult) -> None:
    points = [(p.level, p.engine) for p in found.points]
    assert points == [(level, e) for level in LEVELS for e in ("colonnade", "onnxruntime")]
    num_blocks = FEATURES * OUTPUTS // 4
    for point in found.points:
        assert point.zeros == round(point.level * num_blocks) / num_blocks
    assert found.is_agreed
    for point in found.points:
        assert point.latency.iterations >= QUICK.rounds_min
        assert point.gain.engine == point.gain.peer == point.engine
        assert (point.lead is None) is (point.engine == "colonnade")
    assert [p.gain.ratio for p in found.points[:2]] == [1.0, 1.0]
    assert found.imposed.imposition.sparsity == 0.9
    assert "a note" in found.notes


def test_document_and_csv(found: SweepResult) -> None:
    document = json.loads(json.dumps(sweep_document(found), allow_nan=False))
    for row in document["results"]:
        assert set(SWEEP_FIELDS) <= set(row)
        assert (row["model"], row["structure"], row["batch_size"]) == ("wide.onnx", "1x4", 4)
        assert row["gain_low"] <= row["gain_high"]
    assert set(document["break_even"]) == {DENSE, "onnxruntime"}
    assert document["imposed"]["num_weights"] == 1
    rows = list(csv.DictReader(io.StringIO(sweep_csv(document["results"]))))
    assert tuple(rows[0]) == SWEEP_FIELDS
    assert [float(row["level"]) for row in rows] == [level for level in LEVELS for _ in "ab"]


def test_table_has_a_row_for_each_level(found: SweepResult) -> None:
    columns, rows = sweep_table(found)
    assert columns[-2:] == ["onnxruntime ms", "/ onnxruntime"]
    assert [row[0] for row in rows] == ["0%", "50%", "90%"]
    assert [len(row) for row in rows] == [len(columns)] * 3
    assert rows[0][3] == "1.00"


def test_picture(found: SweepResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    document = {**sweep_document(found), "break_even": {DENSE: 0.7, "onnxruntime": None}}
    plot_sweep(document, tmp_path / "new" / "p.png")
    assert (tmp_path / "new" / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([1.0, 0.8, 1.2], 0.7),
        ([1.0, 1.0, 1.0], None),
        ([1.0, 1.0, 1.2], 0.5),
        ([1.0, 2.0, 0.9], None),
        ([1.1, 1.2, 1.3], 0.0),
        ([1.2, 0.9, 1.1], 0.7),
        ([0.5, 1.5, 2.0], 0.25),
        ([], None),
    ],
)
def test_break_even(ratios: list[float], expected: float | None) -> None:
    level = find_break_even(LEVELS[: len(ratios)], ratios)
    assert level == (None if expected is None else pytest.approx(expected))


def test_break_even_with_the_dense_model_is_above_noise(found: SweepResult) -> None:
    def gains(*values: float) -> SweepResult:
        steps = dict(zip(LEVELS, values, strict=True))
        return replace(
            found,
            points=tuple(
                replace(p, gain=Ratio("a", "a", steps[p.level], 1.0, 1.0, 2)) for p in found.points
            ),
        )

    assert gains(1.0, 1.0, 1.01).break_even[DENSE] is None
    assert gains(1.0, 0.99, 3.0).break_even[DENSE] == pytest.approx(0.5, abs=0.01)
    lines = break_even_lines(gains(1.0, 0.9, 1.14))
    assert lines[0] == (
        "break-even: colonnade is faster than colonnade at sparsity 0 from 70.0% zeros on"
    )


def test_a_peer_that_fails_at_one_level_is_left_out_of_all(
    workload: Workload, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    starts: list[str] = []

    def swap(name: str, model: Path, threads: int, streams: int = 1) -> Worker:
        starts.append(name)
        is_broken = name == "onnxruntime" and starts.count(name) == 2
        return Worker(name, broken if is_broken else model, threads, streams)

    monkeypatch.setattr(sweep_module, "Worker", swap)
    plan = Sweep(replace(workload, skip_failed=True), LEVELS)
    found = run_sweep(plan, make_feed)
    assert [(p.level, p.engine) for p in found.points] == [(lv, "colonnade") for lv in LEVELS]
    assert list(found.failures) == ["onnxruntime"]
    assert starts.count("onnxruntime") == 2
    starts.clear()
    with pytest.raises(ModelError, match="onnxruntime refused"):
        run_sweep(Sweep(workload, LEVELS), make_feed)


def test_levels_are_sorted_checked_and_start_at_zero(workload: Workload, tmp_path: Path) -> None:
    assert Sweep(workload, (0.9, 0.5, 0.9)).levels == LEVELS
    with pytest.raises(InputError, match="not in"):
        Sweep(workload, (0.5, 1.0))
    with pytest.raises(InputError, match="unknown structure"):
        Sweep(workload, (0.0,), "3x3")
    with pytest.raises(InputError, match="no such file"):
        run_sweep(Sweep(replace(workload, model=tmp_path / "none"), (0.5,)), make_feed)


def test_no_file_is_left(found: SweepResult) -> None:
    assert not found.imposed.path.exists()
