"""A small ONNX model with a state: y = total_out = total_in + x."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def write_state_model(path: Path) -> Path:
    """Write the model."""
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "total_in"], ["total_out"]),
            helper.make_node("Identity", ["total_out"], ["y"]),
        ],
        "running_total",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2]),
            helper.make_tensor_value_info("total_in", TensorProto.FLOAT, [1, 2]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2]),
            helper.make_tensor_value_info("total_out", TensorProto.FLOAT, [1, 2]),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path
