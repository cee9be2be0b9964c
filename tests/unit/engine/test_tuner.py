"""The tuner: what it measures it remembers, and a damaged memory is measured anew."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import colonnade
from colonnade import _core
from colonnade.engine.scheduler import cut_streams
from colonnade.engine.tuner import CACHE_VERSION, Tuner, find_cache_path
from colonnade.planner.choice import Absent, Const, Fed, Made, Trial, make_trial

ISA = "portable"
KEY = "product m8 k8 n16 dense|other"


def _trial() -> Trial:
    lanes = _core.panel_lanes(ISA)
    row = _core.choose_matmul(ISA, 8, 8, lanes)[0]
    packed = Const(("w",), lambda: _core.pack_matmul(row, np.eye(8, dtype=np.float32), 8, 8, False))
    params = (row, 8, 8, lanes, 1, -math.inf, math.inf, (), ())
    operands = (Fed(4 * 8 * lanes), packed, Absent(), Absent(), Made(4 * 8 * lanes))
    return make_trial("matmul_columns", operands, params)


class Asked:
    """Trials that count how often they are asked for."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> list[Trial]:
        self.times += 1
        return [_trial(), _trial()]


def _tuner(path: Path | None) -> Tuner:
    runtime = colonnade.Runtime(1)
    streams = cut_streams("single_stream", None, runtime.threads_by_domain)
    return Tuner(runtime, streams, ISA, "fast", path, lambda constant: constant.make())


def test_a_key_is_measured_once() -> None:
    tuner, asked = _tuner(None), Asked()
    first = tuner.time(KEY, asked)
    assert first is not None and len(first) == 2 and min(first) > 0
    assert tuner.time(KEY, asked) == first
    assert asked.times == 1


def test_calls_of_a_trial_read_what_others_made() -> None:
    single = _trial()
    (call,) = single.calls
    made = Made(4 * 8 * _core.panel_lanes(ISA))
    again = replace(call, operands=(2, 1, -1, -1, 3))
    double = Trial((*single.operands, made), (call, again))
    (seconds,) = _tuner(None).time("product twice", lambda: [double]) or ()
    assert seconds > 0


def test_another_process_finds_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "tune" / "cpu.json"
    tuner = _tuner(path)
    first = tuner.time(KEY, Asked())
    tuner.save()
    asked = Asked()
    assert _tuner(path).time(KEY, asked) == first
    assert asked.times == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        json.dumps({"version": CACHE_VERSION + 1, "seconds": {KEY: [1.0, 2.0]}}),
        json.dumps({"version": CACHE_VERSION, "seconds": {KEY: [1.0]}}),
        json.dumps({"version": CACHE_VERSION, "seconds": {KEY: [1.0, -2.0]}}),
        json.dumps({"version": CACHE_VERSION, "seconds": {KEY: ["fast", "slow"]}}),
        json.dumps({"version": CACHE_VERSION, "seconds": {KEY: 3}}),
        json.dumps({"version": CACHE_VERSION, "seconds": [KEY]}),
    ],
)
def test_a_damaged_cache_is_measured_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cpu.json"
    path.write_text(text)
    tuner, asked = _tuner(path), Asked()
    tuner.time(KEY, asked)
    assert asked.times == 1
    tuner.save()
    assert KEY in json.loads(path.read_text())["seconds"]


def test_two_processes_keep_both_results(tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    one, two = _tuner(path), _tuner(path)
    one.time("a x|y", Asked())
    two.time("b x|y", Asked())
    one.save()
    two.save()
    assert set(json.loads(path.read_text())["seconds"]) == {"a x|y", "b x|y"}


def test_a_directory_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tuner = _tuner(tmp_path / "file" / "cpu.json")
    tuner.time(KEY, Asked())
    tuner.save()


def test_machines_have_files_of_their_own(tmp_path: Path) -> None:
    paths = {
        find_cache_path(tmp_path, cpu, isa) for cpu in ("a", "b") for isa in ("avx2", "avx512")
    }
    assert len(paths) == 4


def test_tuning_off_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path))
    rng = np.random.default_rng(0)
    model = _product(np.where(rng.random((64, 32)) < 0.8, 0, 1).astype(np.float32))
    colonnade.compile(model, threads=1, tune="off")
    assert not list(tmp_path.rglob("*.json"))
    colonnade.compile(model, threads=1)
    assert list(tmp_path.rglob("*.json"))


def test_strict_nan_runs_dense() -> None:
    rng = np.random.default_rng(0)
    weights = np.where(rng.random((64, 32)) < 0.9, 0, 1).astype(np.float32)
    weights[0] = 0
    x = np.ones((32, 64), np.float32)
    x[:, 0] = np.nan
    loose = colonnade.compile(_product(weights), threads=1, tune="off")
    strict = colonnade.compile(_product(weights), threads=1, strict_nan=True)
    assert [n.kernel for n in loose.explain().nodes] == ["sparse_columns"]
    assert [n.kernel for n in strict.explain().nodes] == ["matmul_columns"]
    assert np.isfinite(loose.run([x])["y"]).all()
    assert np.isnan(strict.run([x])["y"]).all()


def _product(weights: np.ndarray) -> bytes:
    import onnx
    from onnx import TensorProto, helper

    k, m = weights.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [32, k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [32, m])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString())
