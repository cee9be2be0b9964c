"""Declared suites: reading, collecting, drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import models
from colonnade.bench.suite import bars_of, collect, draw, load_suite, table_rows
from colonnade.errors import InputError

BENCHMARKS = Path(models.__file__).parent.parent
TEXT = """
title = "Two"
peers = ["openvino"]
threads = 2
seconds = 3.0

[[cases]]
model = "a"
batch = [1, 16]

[[cases]]
model = "b"
seq = 64
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(text)
    return path


def document(ours: float, theirs: dict[str, float]) -> dict[str, Any]:
    rows = [{"engine": "colonnade", "median_ms": ours, "max_abs_error": 0.0}]
    rows += [{"engine": e, "median_ms": ms, "max_abs_error": 0.0} for e, ms in theirs.items()]
    ratios = [
        {"engine": "colonnade", "peer": e, "ratio": ms / ours, "low": ms / ours, "high": ms / ours}
        for e, ms in theirs.items()
    ]
    return {"results": rows, "ratios": ratios}


def test_read(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, TEXT))
    assert suite.name == "two"
    assert suite.engines == ("colonnade", "onnxruntime", "openvino")
    assert suite.schedule.seconds == 3.0
    assert [case.name for case in suite.cases] == [
        "a, batch 1",
        "a, batch 16",
        "b, seq 64, batch 1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel = 'x'", "unknown keys"),
        ("[[cases]]\nmodel = 'a'\nbatches = [1]", "unknown keys"),
        ("[[cases]]\nbatch = [1]", "names its model"),
        ("peers = ['tensorflow']", "unknown engine"),
        ("title = ", "two.toml"),
    ],
)
def test_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_suite(write(tmp_path, text))
    with pytest.raises(InputError, match="no such suite"):
        load_suite(tmp_path / "none.toml")


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.toml")), ids=lambda path: path.stem)
def test_our_suites_name_known_models(path: Path) -> None:
    suite = load_suite(path)
    assert suite.cases
    assert [models.find(case.model).name for case in suite.cases]


def test_collect_orders_cases_and_averages(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, TEXT))
    documents = {
        "a, batch 16": document(10.0, {"onnxruntime": 5.0}),
        "a, batch 1": document(10.0, {"onnxruntime": 20.0, "openvino": 10.0}),
    }
    found = collect(suite, documents)
    assert [row["case"] for row in found["results"]] == ["a, batch 1"] * 3 + ["a, batch 16"] * 2
    assert found["geometric_means"] == {
        "onnxruntime": pytest.approx(1.0),
        "openvino": pytest.approx(1.0),
    }
    assert [row[3] for row in table_rows(found)] == ["", "2.000", "1.000", "", "0.500"]


def test_bars_are_relative_to_the_baseline(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, TEXT))
    found = collect(suite, {"a, batch 1": document(10.0, {"onnxruntime": 20.0, "openvino": 16.0})})
    ratios = {bar.engine: bar.ratio for bar in bars_of(found)}
    assert ratios == {"colonnade": 2.0, "openvino": pytest.approx(20 / 16)}


def test_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    suite = load_suite(write(tmp_path, TEXT))
    found = collect(suite, {"a, batch 1": document(10.0, {"onnxruntime": 20.0})})
    draw(found, tmp_path / "img" / "two.png")
    assert (tmp_path / "img" / "two.png").read_bytes().startswith(b"\x89PNG")
