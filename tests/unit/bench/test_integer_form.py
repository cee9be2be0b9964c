"""benchmarks/integer_form.py: chains of integer products give the answers of the QDQ graph."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import quantized_models
from integer_form import to_integer_form

CASES = {
    "image": (quantized_models.image_model, quantized_models.image_feeds, {"ConvInteger": 3}),
    "text": (quantized_models.text_model, quantized_models.text_feeds, {"MatMulInteger": 8}),
}


@pytest.mark.parametrize("name", CASES)
def test_same_answers_as_qdq(name: str) -> None:
    _, feeds, counts = CASES[name]
    model = qdq(name)
    made = to_integer_form(model)
    onnx.checker.check_model(made, full_check=True)
    found = Counter(node.op_type for node in made.graph.node)
    assert {key: found[key] for key in counts} == counts
    assert not {"Conv", "Gemm", "MatMul"} & set(found)
    expected, answer = run(model, feeds()), run(made, feeds())
    assert np.max(np.abs(answer - expected)) <= last_step(model)


def test_weights_are_uint8_around_128() -> None:
    made = to_integer_form(qdq("image"))
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    products = [node for node in made.graph.node if node.op_type == "ConvInteger"]
    for node in products:
        assert arrays[node.input[1]].dtype == np.uint8
        assert arrays[node.input[3]] == 128  # as SparseML writes them


def test_float_products_stay() -> None:
    model = quantized_models.image_model()
    assert to_integer_form(model).graph.node == model.graph.node


def qdq(name: str) -> onnx.ModelProto:
    quantization = pytest.importorskip("onnxruntime.quantization")
    make, feeds, _ = CASES[name]
    options: dict[str, Any] = {
        "activation_type": quantization.QuantType.QUInt8,
        "weight_type": quantization.QuantType.QInt8,
        "per_channel": True,
    }
    return quantized_models.quantize_static(make(), lambda i: feeds(seed=i + 1), **options)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """ONNX Runtime's answer, every node as it is written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.asarray(session.run(None, feeds)[0])


def last_step(model: onnx.ModelProto) -> float:
    """The step of the model's output, the coarsest difference that one rounding makes."""
    scales = {tensor.name: tensor for tensor in model.graph.initializer}
    [last] = [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.output[0] == model.graph.output[0].name
    ]
    return float(numpy_helper.to_array(scales[last.input[1]]).max()) * (1 + 1e-6)
