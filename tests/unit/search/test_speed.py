"""Expected and measured speeds find their way into the report; no time is asserted on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from colonnade.errors import InputError
from colonnade.search.cost_table import CostTable

pytest.importorskip("torch")

from colonnade.search import speed as speed_module
from colonnade.search.speed import expected_speed, measured_speed
from colonnade.sparsify.report.report import Report, write_report


def make_model(path: Path, zeros: float = 0.0) -> Path:
    """One product of 64 x 64."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((64, 64)).astype(np.float32)
    weights[rng.random(weights.shape) < zeros] = 0
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "l0")], "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


SAMPLES = [{"x": np.ones((4, 64), np.float32)}]


def test_expected_is_read_off_the_cost_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = CostTable("unstructured", (0.0, 0.5, 0.75), {"l0": (4.0, 2.0, 1.0)}, 5.0)
    monkeypatch.setattr(speed_module, "costs_of", lambda _, __: table)
    found = expected_speed(make_model(tmp_path / "m.onnx"), SAMPLES, 0.625, threads=1)
    assert (found.dense_ms, found.sparse_ms) == (5.0, 1.0 + 1.5)
    assert "cost table at 62% unstructured" in found.source
    assert "1 threads, x 4x64" in found.source
    with pytest.raises(InputError):
        expected_speed(tmp_path / "m.onnx", SAMPLES, 1.5)


def test_both_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path / "cache"))
    table = CostTable("unstructured", (0.0, 0.9), {"l0": (3.0, 1.0)}, 4.0)
    monkeypatch.setattr(speed_module, "costs_of", lambda _, __: table)
    dense = make_model(tmp_path / "dense.onnx")
    sparse = make_model(tmp_path / "sparse.onnx", 0.9)
    report = Report(
        steps=1, steps_planned=1, epochs=1.0, modifiers=(), layers=(), series={},
        expected=expected_speed(dense, SAMPLES, 0.9, threads=1),
        measured=measured_speed(dense, sparse, SAMPLES, threads=1, batch=8),
    )  # fmt: skip
    write_report(report, tmp_path / "report.json")
    write_report(report, tmp_path / "report.html")
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["expected"]["sparse_ms"] == 2.0
    assert document["measured"]["dense_ms"] > 0
    assert "x 8x64" in document["measured"]["source"]
    page = (tmp_path / "report.html").read_text()
    assert "2.00x" in page
    assert "expected: 4 ms dense, 2 ms sparse" in page
    assert "measured: " in page
