"""Whole comparisons with real workers on a small model, and their reports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colonnade.bench import compare
from colonnade.bench.compare import Comparison, Feed, Workload, compare_engines
from colonnade.bench.harness import Schedule
from colonnade.bench.peers import InputSpec, Worker
from colonnade.bench.report import (
    RESULT_FIELDS,
    deepsparse_keys,
    summary_lines,
    to_csv,
    to_document,
)
from colonnade.errors import InputError, ModelError
from tiny_model import FEATURES, write_tiny_model

QUICK = Schedule(seconds=0.05, warm_up_s=0.0, turn_s=0.01, rounds_min=2)


def make_feed(specs: Sequence[InputSpec]) -> Feed:
    assert [spec.name for spec in specs] == ["x"]
    return Feed({"x": np.ones((4, FEATURES), np.float32)}, 4, ("a note",))


@pytest.fixture(scope="module")
def found(tiny_model: Path) -> Comparison:
    workload = Workload(
        tiny_model,
        ("colonnade", "onnxruntime"),
        1,
        schedule=QUICK,
        with_memory=True,
        with_trace=True,
    )
    return compare_engines(workload, make_feed)


def test_both_engines_agree_and_are_timed(found: Comparison) -> None:
    assert [result.engine for result in found.results] == ["colonnade", "onnxruntime"]
    assert found.is_agreed
    for result in found.results:
        assert result.latency.iterations >= QUICK.rounds_min
        assert result.memory is not None
    assert found.results[0].isa is not None
    assert found.results[0].details["num_native"] > 0
    assert [(ratio.engine, ratio.peer) for ratio in found.ratios] == [("colonnade", "onnxruntime")]
    assert "a note" in found.notes
    assert {event["thread"] for event in found.trace} == {0}


def test_document_is_json_with_the_documented_keys(found: Comparison) -> None:
    document = json.loads(json.dumps(to_document(found), allow_nan=False))
    assert len(document["results"]) == 2
    for row in document["results"]:
        assert tuple(row)[: len(RESULT_FIELDS)] == RESULT_FIELDS
        assert row["model"] == "tiny.onnx"
        assert (row["batch_size"], row["threads"]) == (4, 1)
        assert row["min_ms"] <= row["median_ms"] <= row["p90_ms"] <= row["p99_ms"]
    assert document["results"][1]["max_abs_error"] == 0.0
    assert document["ratios"][0]["low"] <= document["ratios"][0]["high"]
    assert document["shapes"] == {"x": [4, FEATURES]}


def test_csv_has_one_line_per_engine(found: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(to_document(found)["results"]))))
    assert tuple(rows[0]) == RESULT_FIELDS
    assert [row["engine"] for row in rows] == ["colonnade", "onnxruntime"]


def test_keys_that_scripts_know(found: Comparison) -> None:
    keys = deepsparse_keys(found, "sync")
    assert keys["scenario"] == "singlestream"
    assert keys["input_shapes"] == f"[4,{FEATURES}]"
    assert keys["fraction_of_supported_ops"] == 1.0
    result = keys["benchmark_result"]
    assert result["50.0%"] == pytest.approx(result["median"])
    assert result["25.0%"] <= result["75.0%"] <= result["99.9%"]
    assert result["items_per_sec"] == pytest.approx(
        4 * result["iterations"] / result["seconds_ran"]
    )
    lines = summary_lines(found, "sync")
    assert [line.partition(":")[0] for line in lines][3:6] == [
        "Throughput (items/sec)",
        "Latency Mean (ms/batch)",
        "Latency Median (ms/batch)",
    ]


def test_other_answers_are_noticed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_tiny_model(tmp_path / "other.onnx", bias=0.5)

    def swap(name: str, model: Path, *rest: Any) -> Worker:
        return Worker(name, other if name == "colonnade" else model, *rest)

    monkeypatch.setattr(compare, "Worker", swap)
    workload = Workload(tiny_model, ("colonnade", "onnxruntime"), 1, schedule=QUICK)
    found = compare_engines(workload, make_feed)
    assert not found.is_agreed
    agreement = found.results[0].agreement
    assert agreement is not None
    assert agreement.max_abs_error == pytest.approx(0.25)


def test_a_single_engine_has_nothing_to_agree_with(tiny_model: Path) -> None:
    found = compare_engines(Workload(tiny_model, ("onnxruntime",), 1, schedule=QUICK), make_feed)
    assert found.results[0].agreement is None
    assert found.ratios == ()
    assert to_document(found)["results"][0]["max_abs_error"] is None


def test_a_failing_peer_stops_the_comparison_unless_it_may_be_skipped(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")

    def swap(name: str, model: Path, *rest: Any) -> Worker:
        return Worker(name, broken if name == "onnxruntime" else model, *rest)

    monkeypatch.setattr(compare, "Worker", swap)
    workload = Workload(tiny_model, ("colonnade", "onnxruntime"), 1, schedule=QUICK)
    with pytest.raises(ModelError, match="onnxruntime refused"):
        compare_engines(workload, make_feed)
    found = compare_engines(replace(workload, skip_failed=True), make_feed)
    assert [result.engine for result in found.results] == ["colonnade"]
    assert list(found.failures) == ["onnxruntime"]


def test_engines_are_named_once_and_the_model_exists(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="once"):
        compare_engines(Workload(tiny_model, ("onnxruntime", "onnxruntime"), 1), make_feed)
    with pytest.raises(InputError, match="no such file"):
        compare_engines(Workload(tiny_model / "x", ("onnxruntime",), 1), make_feed)


def test_progress_names_the_stages(tiny_model: Path) -> None:
    stages: dict[str, None] = {}
    workload = Workload(tiny_model, ("onnxruntime",), 1, schedule=QUICK)
    compare_engines(workload, make_feed, lambda stage, _: stages.setdefault(stage))
    assert list(stages) == [
        "onnxruntime: starting",
        "onnxruntime: reading tiny.onnx",
        "onnxruntime: compiling",
        "measuring",
    ]
