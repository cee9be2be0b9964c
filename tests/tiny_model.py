"""A small ONNX model for tests that need a real file: y = relu(x w + b)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES, OUTPUTS = 12, 5
IR_VERSION = 10
OPSET = 17


def write_tiny_model(
    path: Path,
    batch: int | str = "batch",
    bias: float = 0.25,
    features: int = FEATURES,
    outputs: int = OUTPUTS,
) -> Path:
    """Write the model; other biases give other answers."""
    rng = np.random.default_rng(7)
    weights = rng.standard_normal((features, outputs)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["product"], name="product"),
            helper.make_node("Add", ["product", "b"], ["shifted"], name="shift"),
            helper.make_node("Relu", ["shifted"], ["y"], name="activation"),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, outputs])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.full(outputs, bias, np.float32), "b"),
        ],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), path)
    return path
