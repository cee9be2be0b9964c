"""Recurrent layers whose weights hold zeros: the kernel that is chosen, and the same bits as dense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import colonnade
from colonnade import _core, knobs
from colonnade.engine.tuner import Tuner
from colonnade.planner.explain import NodeRecord

needs_vectors = pytest.mark.skipif(
    _core.best_isa(knobs.max_isa() or "") == "portable",
    reason="portable code runs the loop dense unless measured",
)
STEPS, HIDDEN, GATES = 6, 64, {"LSTM": 4, "GRU": 3, "RNN": 1}


def _model(
    op: str, batch: int, sparsity: float, direction: str = "forward", hidden: int = HIDDEN
) -> onnx.ModelProto:
    """One layer, zeros in R."""
    rng = np.random.default_rng(3)
    directions = 2 if direction == "bidirectional" else 1
    shape = (directions, GATES[op] * hidden, hidden)
    w, r = (rng.uniform(-0.1, 0.1, shape).astype(np.float32) for _ in range(2))
    r[rng.random(shape) < sparsity] = 0
    node = helper.make_node(
        op, ["x", "w", "r"], ["y", "h"], "layer", hidden_size=hidden, direction=direction
    )
    graph = helper.make_graph(
        [node], "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (STEPS, batch, hidden))],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(r, "r")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _x(batch: int, hidden: int = HIDDEN) -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.standard_normal((STEPS, batch, hidden)).astype(np.float32)


def _loop(engine: colonnade.Engine) -> NodeRecord:
    return next(record for record in engine.explain().nodes if record.op == "Recurrent")


def _compile(model: onnx.ModelProto, **options: object) -> colonnade.Engine:
    return colonnade.compile(model, tune="off", fallback="forbid", **options)


@needs_vectors
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_same_bits_as_dense(op: str, direction: str) -> None:
    model, x = _model(op, 1, 0.9, direction), _x(1)
    sparse, dense = _compile(model, threads=2), _compile(model, threads=2, strict_nan=True)
    assert ", sparse, " in _loop(sparse).why
    assert ", sparse, " not in _loop(dense).why
    for name, made in sparse.run([x]).items():
        assert made.tobytes() == dense.run([x])[name].tobytes()


def test_explain_gives_zeros() -> None:
    record = _loop(_compile(_model("LSTM", 1, 0.9)))
    assert record.weights is not None
    assert 0.88 < record.weights.sparsity < 0.92
    assert record.weights.structure == "unstructured"


@pytest.mark.parametrize(("batch", "sparsity"), [(1, 0.5), (4, 0.8), (32, 0.9), (1, 0.0)])
def test_dense_where_items_share_weights(batch: int, sparsity: float) -> None:
    assert ", sparse, " not in _loop(_compile(_model("LSTM", batch, sparsity))).why


def test_the_choice_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path))
    model = _model("LSTM", 1, 0.99, hidden=256)
    record = _loop(colonnade.compile(model, tune="fast", threads=1, fallback="forbid"))
    assert record.weights is not None
    assert record.weights.gain is not None or "ran dense" in record.advisories[0]
    assert any(path.suffix == ".json" for path in tmp_path.rglob("*"))


class _Measured:
    """Stands in for a tuner that found this gain, for every layer."""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def __call__(self, key: str, *_: object) -> list[float]:
        return [self.gain, *[1.0] * key.rsplit(" ", 1)[-1].count("|")]


@pytest.mark.parametrize(("gain", "kernel"), [(1.1, "matmul_rows"), (1.3, "sparse_columns")])
def test_the_input_product_must_win_its_conversions(
    gain: float, kernel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(Tuner, "time", _Measured(gain))
    model = _model("LSTM", 4, 0.9)
    w = numpy_helper.to_array(model.graph.initializer[1])
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(w, "w"))
    engine = colonnade.compile(model, tune="fast", threads=1, fallback="forbid")
    linear = next(record for record in engine.explain().nodes if record.op == "Linear")
    assert linear.kernel == kernel
    assert ", sparse, " in _loop(engine).why


@needs_vectors
def test_all_zero_weights() -> None:
    model, x = _model("LSTM", 1, 1.0), _x(1)
    engine = _compile(model)
    assert ", sparse, " in _loop(engine).why
    np.testing.assert_array_equal(
        engine.run([x])["y"], _compile(model, strict_nan=True).run([x])["y"]
    )


@needs_vectors
def test_saved_plan(tmp_path: Path) -> None:
    engine, x = _compile(_model("LSTM", 1, 0.9), threads=1), _x(1)
    want = engine.run([x])["y"]
    path = tmp_path / "layer.colonnade"
    engine.save(path)
    loaded = colonnade.load(path, threads=1)
    assert ", sparse, " in _loop(loaded).why
    assert loaded.run([x])["y"].tobytes() == want.tobytes()
