"""Whole engines on sparse weights: right answers, the same bits, what explain says, saved plans."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import colonnade
from colonnade import _core
from colonnade.errors import PlanError
from tolerance import tolerance

ISAS = ("portable", "avx2", "avx512")
AVAILABLE = [isa for isa in ISAS if _core.best_isa(isa) == isa]
SPARSITY = 0.9


def _weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    kept = rng.random(shape) >= SPARSITY
    return (rng.uniform(-1, 1, shape) * kept).astype(np.float32)


def _model(
    op: str, x_shape: tuple[int, ...], w: np.ndarray, bias: int = 0, **attrs: object
) -> onnx.ModelProto:
    """One node on a constant weight (and bias), then a Relu."""
    rng = np.random.default_rng(1)
    constants = [onnx.numpy_helper.from_array(w, "w")]
    if bias:
        values = rng.uniform(-1, 1, bias).astype(np.float32)
        constants.append(onnx.numpy_helper.from_array(values, "b"))
    names = ["x", *(constant.name for constant in constants)]
    nodes = [helper.make_node(op, names, ["z"], **attrs), helper.make_node("Relu", ["z"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "sparse", [x], [y], constants)
    opset = helper.make_opsetid("", 17)
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[opset], ir_version=9)
    )


def _models() -> dict[str, tuple[onnx.ModelProto, int]]:
    """Models, and the longest sum in them."""
    rng = np.random.default_rng(0)
    return {
        "matmul": (_model("MatMul", (3, 50, 96), _weights(rng, 96, 130)), 96),
        "gemm": (
            _model("Gemm", (70, 40), _weights(rng, 65, 40), 65, transB=1, alpha=0.5),
            41,
        ),
        "1x1": (_model("Conv", (2, 70, 9, 7), _weights(rng, 66, 70, 1, 1), 66), 71),
        "3x3": (
            _model("Conv", (2, 20, 11, 13), _weights(rng, 40, 20, 3, 3), 40, pads=[1] * 4),
            181,
        ),
        "strided": (
            _model("Conv", (1, 24, 15, 15), _weights(rng, 48, 24, 3, 3), strides=[2, 2]),
            216,
        ),
        "grouped": (
            _model("Conv", (1, 24, 9, 9), _weights(rng, 32, 12, 3, 3), group=2, pads=[1] * 4),
            108,
        ),
        "1-D": (_model("Conv", (2, 32, 80), _weights(rng, 48, 32, 5), pads=[2, 2]), 160),
    }


MODELS = _models()


def _feed(model: onnx.ModelProto) -> np.ndarray:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    shape = [dim.dim_value for dim in dims]
    return np.random.default_rng(2).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("name", MODELS)
def test_answers(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONNADE_MAX_ISA", isa)
    model, terms = MODELS[name]
    x = _feed(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = session.run(None, {"x": x})[0]
    answers = []
    for threads in (1, 2, 3):
        engine = colonnade.compile(model, threads=threads, tune="off", fallback="forbid")
        answers.append(engine.run([x])["y"])
        kernels = {node.kernel for node in engine.explain().nodes}
        assert kernels & {"sparse_columns", "sparse_conv"}
    assert np.abs(answers[0] - expected).max() <= 2 * tolerance(terms, 1, 1)
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_explain_tells_zeros_structure_and_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path))
    engine = colonnade.compile(MODELS["matmul"][0], threads=1)
    explanation = engine.explain()
    (node,) = [node for node in explanation.nodes if node.weights is not None]
    facts = node.weights
    assert facts is not None and facts.structure == "unstructured"
    assert abs(facts.sparsity - SPARSITY) < 0.02
    assert "90% zeros, unstructured" in str(explanation)
    is_sparse = node.kernel == "sparse_columns"
    assert is_sparse == (facts.gain is not None)
    assert is_sparse or any("ran dense" in text for text in node.advisories)
    data = explanation.to_dict()
    assert data["dense_weight_bytes"] == 4 * 96 * 130


def test_zeros_take_no_memory() -> None:
    explanation = colonnade.compile(MODELS["matmul"][0], threads=1, tune="off").explain()
    assert explanation.constant_bytes < 0.35 * explanation.dense_weight_bytes


def test_few_zeros_stay_dense() -> None:
    weights = _weights(np.random.default_rng(0), 96, 130)
    weights[np.random.default_rng(3).random(weights.shape) < 0.7] = 0.5
    engine = colonnade.compile(_model("MatMul", (60, 96), weights), threads=1, tune="off")
    assert "sparse_columns" not in {node.kernel for node in engine.explain().nodes}


@pytest.mark.parametrize("name", ["matmul", "3x3"])
def test_a_saved_plan_holds_the_nonzeros(name: str, tmp_path: Path) -> None:
    model, _ = MODELS[name]
    x, path = _feed(model), tmp_path / "m.colonnade"
    engine = colonnade.compile(model, threads=2, tune="off")
    expected = engine.run([x])["y"]
    engine.save(path)
    loaded = colonnade.load(path, threads=2)
    np.testing.assert_array_equal(loaded.run([x])["y"], expected)
    assert loaded.explain().to_dict()["nodes"] == engine.explain().to_dict()["nodes"]


BUCKET_BYTES = 8
"""Of the sparse format: number of groups, their kind, their steps; then the rows of the first group."""


def test_damaged_sparse_weights_are_refused(tmp_path: Path) -> None:
    """A file with the right checksum, but with a row out of range."""
    path = tmp_path / "m.colonnade"
    engine = colonnade.compile(MODELS["matmul"][0], threads=1, tune="off")
    engine.save(path)
    raw = bytearray(path.read_bytes())
    packed = _packed_section(engine)
    at = raw.index(packed)
    first_row = int.from_bytes(packed[:8], "little") + BUCKET_BYTES
    raw[at + first_row : at + first_row + 2] = b"\xff\xff"
    old, new = zlib.crc32(packed), zlib.crc32(bytes(raw[at : at + len(packed)]))
    text = str(old).encode()
    assert raw.count(text) == 1 and len(text) == len(str(new))
    raw = raw.replace(text, str(new).encode())
    _renew_header_checksum(raw)
    path.write_bytes(raw)
    with pytest.raises(PlanError, match="sparse"):
        colonnade.load(path, threads=1)


def _packed_section(engine: colonnade.Engine) -> bytes:
    (program,) = engine._programs.values()
    (step,) = program.steps
    arrays = step.parts.constants  # type: ignore[attr-defined]
    (packed,) = [array for array in arrays if array.dtype == np.uint8]
    return bytes(packed.tobytes())


def _renew_header_checksum(raw: bytearray) -> None:
    size = int.from_bytes(raw[8:16], "little")
    raw[16:24] = zlib.crc32(bytes(raw[24 : 24 + size])).to_bytes(8, "little")
