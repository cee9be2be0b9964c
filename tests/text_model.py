"""A small text model for tests: words to numbers by their checksum, embeddings, mean, a layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS, FEATURES, LABELS, LENGTH = 512, 16, 4, 8


def write_text_model(path: Path) -> Path:
    """ids [batch, LENGTH] to scores [batch, LABELS]."""
    rng = np.random.default_rng(11)
    table = rng.standard_normal((WORDS, FEATURES)).astype(np.float32)
    layer = rng.standard_normal((FEATURES, LABELS)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["words"]),
            helper.make_node("ReduceMean", ["words"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["mean", "layer"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=-1),
        ],
        "text",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", LENGTH])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", LABELS])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(layer, "layer")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path
