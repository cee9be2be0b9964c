"""SmoothQuant changes no answer in float32, and makes 8 bits better where a feature stands out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import colonnade
from colonnade.ir import Graph
from colonnade.quantization.calibrate import compile_graph
from colonnade.quantization.data.source import source_of
from colonnade.quantization.place import place
from colonnade.quantization.prepare import read_graph
from colonnade.quantization.smooth import smooth
from tolerance import tolerance
from unit.quantization import nets

ALONE = nets.TEXT
SHARED = nets.TEXT.replace("Add(g1, x)", "Add(g1, n)")
PARTS = nets.TEXT.replace(
    "n = LayerNormalization(x, gamma, beta)", "m = Mul(x, gamma)  n = Add(m, beta)"
)
GEMM = """
(float[N,16] x) => (float[N,4] y) {
  e = Sigmoid(x)  y = Gemm <transB = 1> (e, w1, b1)
}"""
GEMM_SHAPES = {"w1": (4, 16), "b1": (4,)}
CASES = {
    "alone": (ALONE, nets.TEXT_SHAPES, (2, 7, 16)),
    "shared": (SHARED, nets.TEXT_SHAPES, (2, 7, 16)),
    "parts": (PARTS, nets.TEXT_SHAPES, (2, 7, 16)),
    "gemm": (GEMM, GEMM_SHAPES, (5, 16)),
}


def model_of(name: str, outlier: float = 60.0) -> onnx.ModelProto:
    """With one feature of the normalisation that stands out."""
    text, shapes, _ = CASES[name]
    model = nets.make_model(text, shapes)
    for tensor in model.graph.initializer:
        if tensor.name == "gamma":
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[3] = outlier
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, "gamma"))
    return model


def smoothed(name: str, alpha: float = 0.5) -> tuple[Graph, Graph]:
    graph = read_graph(model_of(name))
    source = source_of(nets.samples(CASES[name][2]))
    return graph, smooth(graph, place(graph, lambda _: ""), source, alpha, 1)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_answers_stay(name: str, alpha: float) -> None:
    graph, made = smoothed(name, alpha)
    feeds = nets.samples(CASES[name][2], 1, seed=8)[0]
    wanted, found = (compile_graph(g, 1).run(feeds)["y"] for g in (graph, made))
    largest = float(np.abs(wanted).max())
    bound = tolerance(64, max(largest, 1.0), 60.0)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("name", "num_muls"), [("alone", 1), ("shared", 2), ("parts", 1), ("gemm", 1)]
)
def test_factors_are_folded_where_only_products_read(name: str, num_muls: int) -> None:
    """The input of the second product is no normalisation, so it always takes a Mul."""
    graph, made = smoothed(name)
    before, after = (sum(node.op == "Mul" for node in g.nodes) for g in (graph, made))
    assert after - before == num_muls


@pytest.mark.parametrize("name", CASES)
def test_zeros_of_weights_stay(name: str) -> None:
    graph, made = smoothed(name)
    changed = 0
    for node in graph.nodes:
        if node.op in ("MatMul", "Gemm"):
            twin = made.producer[node.outputs[0]]
            before, after = graph.constants[node.inputs[1]], made.constants[twin.inputs[1]]
            changed += not np.array_equal(after, before)
            np.testing.assert_array_equal(after == 0, before == 0)
    assert changed


def test_outliers_hurt_less() -> None:
    model = model_of("alone")
    data = nets.samples((2, 7, 16), 8)
    plain = colonnade.quantize(model, data, threads=1).report.outputs[0].sqnr_db
    better = colonnade.quantize(model, data, smooth_alpha=0.5, threads=1).report.outputs[0].sqnr_db
    assert better > plain + 3.0  # half of a bit, at least
