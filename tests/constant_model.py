"""An ONNX model that answers every row with the same arrays: for what comes after the engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_constant_model(
    path: Path, inputs: Mapping[str, tuple[int | str, ...]], outputs: Mapping[str, np.ndarray]
) -> Path:
    """Inputs by name with their shape, the first axis a batch; outputs by name, without it."""
    (first, *_) = inputs
    axes = [numpy_helper.from_array(np.arange(1, len(inputs[first])), "axes")]
    nodes = [
        helper.make_node("ReduceMean", [first, "axes"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "zero"], ["zeros"]),
    ]
    constants = [*axes, numpy_helper.from_array(np.zeros(1, np.float32), "zero")]
    for name, array in outputs.items():
        ones = np.array([-1, *[1] * array.ndim], np.int64)
        constants.append(numpy_helper.from_array(array.astype(np.float32), f"{name}_value"))
        constants.append(numpy_helper.from_array(ones, f"{name}_shape"))
        nodes.append(helper.make_node("Reshape", ["zeros", f"{name}_shape"], [f"{name}_rows"]))
        nodes.append(helper.make_node("Add", [f"{name}_rows", f"{name}_value"], [name]))
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *a.shape])
            for n, a in outputs.items()
        ],
        constants,
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path
