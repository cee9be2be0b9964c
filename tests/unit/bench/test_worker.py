"""The worker's protocol, and real worker processes with ONNX Runtime."""

from __future__ import annotations

import ast
import io
import json
import os
import signal
import struct
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import colonnade
from colonnade._core import best_isa
from colonnade.bench import worker
from colonnade.bench.memory import measure_memory
from colonnade.bench.peers import WORKER, Worker
from colonnade.errors import CapabilityError, InputError, ModelError, RunError
from tiny_model import FEATURES, OUTPUTS

FEED = {"x": np.linspace(-1, 1, 3 * FEATURES, dtype=np.float32).reshape(3, FEATURES)}


def round_trip(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    stream = io.BytesIO()
    worker.write_message(stream, header, arrays)
    stream.seek(0)
    return worker.read_message(stream)


def test_messages_carry_arrays_unchanged() -> None:
    arrays: dict[str, np.ndarray] = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "empty": np.zeros((0, 4), np.int64),
        "scalar": np.array(True),
        "words": np.array([["ä", "bc"]], object),
    }
    header, made = round_trip({"do": "run", "n": 1}, arrays)
    assert header == {"do": "run", "n": 1}
    for name, array in arrays.items():
        assert made[name].dtype == array.dtype
        np.testing.assert_array_equal(made[name], array)


def test_nothing_is_pickled() -> None:
    blob = io.BytesIO()
    np.save(blob, np.array([{}], object), allow_pickle=True)
    entry = {"name": "a", "bytes": len(blob.getvalue()), "text": False}
    raw = json.dumps({"arrays": [entry]}).encode()
    message = struct.pack(">4sI", worker.MAGIC, len(raw)) + raw + blob.getvalue()
    with pytest.raises(ValueError, match="allow_pickle"):
        worker.read_message(io.BytesIO(message))


def test_a_clean_end_and_broken_messages() -> None:
    assert worker.read_message(io.BytesIO()) is None
    stream = io.BytesIO()
    worker.write_message(stream, {"do": "run"}, {"a": np.zeros(9)})
    whole = stream.getvalue()
    for broken in (whole[:3], whole[:20], whole[:-1], b"GET / HTTP/1.1"):
        with pytest.raises(worker.ProtocolError):
            worker.read_message(io.BytesIO(broken))
    huge = struct.pack(">4sI", worker.MAGIC, worker.HEADER_BYTES_MAX + 1)
    with pytest.raises(worker.ProtocolError):
        worker.read_message(io.BytesIO(huge))


def test_the_worker_is_one_file_for_old_pythons() -> None:
    tree = ast.parse(WORKER.read_text(), feature_version=(3, 8))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy"}


def test_time_runs_deals_runs_to_streams() -> None:
    calls: list[int] = []
    runners: list[worker.Runner] = [partial(calls.append, i) for i in range(3)]
    times, wall_ns = worker.time_runs(runners, 40)
    assert len(times) == len(calls) == 40
    assert wall_ns > 0


def test_a_failing_stream_raises() -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        worker.time_runs([fail, fail], 4)


def test_describe_prepare_run_measure(tiny_model: Path) -> None:
    with Worker("onnxruntime", tiny_model, threads=1) as engine:
        (spec,) = engine.describe()
        assert (spec.name, spec.shape) == ("x", ("batch", FEATURES))
        assert spec.dtype == np.dtype(np.float32)
        prepared = engine.prepare(FEED)
        assert prepared.outputs == ("y",)
        assert engine.run()["y"].shape == (3, OUTPUTS)
        turn = engine.measure(7)
        assert len(turn.times_ns) == 7
        assert all(time_ns > 0 for time_ns in turn.times_ns)
        assert turn.wall_ns >= sum(turn.times_ns)
        assert turn.cpu_end_ns >= turn.cpu_start_ns


def test_a_worker_has_its_own_environment(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLONNADE_MAX_ISA", raising=False)
    isas = [
        _isa(tiny_model, environment) for environment in (None, {"COLONNADE_MAX_ISA": "portable"})
    ]
    assert isas == [best_isa(), "portable"]


def _isa(model: Path, environment: dict[str, str] | None) -> str | None:
    with Worker("colonnade", model, threads=1, environment=environment) as engine:
        return engine.prepare(FEED).isa


def test_several_streams(tiny_model: Path) -> None:
    with Worker("onnxruntime", tiny_model, threads=1, streams=2) as engine:
        engine.prepare(FEED)
        assert len(engine.measure(10).times_ns) == 10


def test_memory_of_the_process(tiny_model: Path) -> None:
    with Worker("onnxruntime", tiny_model, threads=1) as engine:
        engine.prepare(FEED)
        report = measure_memory(engine)
        assert 0 < report.library_bytes < report.ready_bytes <= report.peak_run_bytes


def test_a_refused_model_names_the_engine(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with Worker("onnxruntime", broken, threads=1) as engine:
        with pytest.raises(ModelError, match="onnxruntime refused the model"):
            engine.prepare(FEED)
        with pytest.raises(ModelError, match="onnxruntime refused the model"):
            engine.describe()  # the worker still answers


def test_a_failed_run(tiny_model: Path) -> None:
    with Worker("onnxruntime", tiny_model, threads=1) as engine:
        engine.prepare({"x": np.zeros((3, FEATURES), np.float64)})
        with pytest.raises(RunError, match=r"onnxruntime: .*float"):
            engine.run()


def test_a_killed_worker(tiny_model: Path) -> None:
    with Worker("onnxruntime", tiny_model, threads=1) as engine:
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(RunError, match="ended with signal SIGKILL during 'prepare'"):
            engine.prepare(FEED)


def test_an_engine_that_is_not_installed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # no site-packages
    bare.chmod(0o755)
    monkeypatch.setenv("COLONNADE_PEER_OPENVINO_PYTHON", str(bare))
    with pytest.raises((CapabilityError, RunError), match=r"numpy|COLONNADE_PEER_OPENVINO_PYTHON"):
        Worker("openvino", tiny_model, threads=1)


def test_an_unknown_engine(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="onnxruntime, openvino, deepsparse"):
        Worker("tensorflow", tiny_model, threads=1)


class Session:
    """Takes a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_outputs(self) -> list[str]:
        return []

    def run(self, outputs: object, feeds: object) -> list[str]:
        del outputs, feeds
        time.sleep(self.seconds)  # what the worker measures
        return [f"{self.seconds}"]


def test_onnxruntime_gets_its_faster_session_of_a_quantized_file(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []
    sessions = {True: Session(0.02), False: Session(0.0)}

    def make(engine: worker.OnnxRuntime, shapes: dict[str, Any]) -> Session:
        del engine
        made.append(shapes)
        return sessions[bool(shapes)]

    monkeypatch.setattr(worker.OnnxRuntime, "_make_session", make)
    quantized = tmp_path / "quantized.onnx"
    colonnade.quantize(tiny_model, [{"x": np.ones((2, FEATURES), np.float32)}]).save(quantized)
    for path, number, expected in ((quantized, 2, "0.0"), (tiny_model, 1, "0.02")):
        made.clear()
        engine = worker.OnnxRuntime(str(path), 1, 1)
        engine.prepare({"x": [2, FEATURES]})
        assert len(made) == number
        assert engine.runner({})() == [expected]
