"""LSTM stacks as exporters without a recurrent operator write them: every step its own nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper


class LayerWeights(Protocol):
    """One LSTM layer as ONNX has it: w and r [1, 4 n, n], b [1, 8 n]; gates i, o, f, c."""

    @property
    def w(self) -> np.ndarray: ...
    @property
    def r(self) -> np.ndarray: ...
    @property
    def b(self) -> np.ndarray: ...


def make_unrolled_model(weights: Sequence[LayerWeights], shape: tuple[int, ...]) -> onnx.ModelProto:
    """x and y [batch, steps, n]: two MatMuls, sums, gates one by one, for each layer and step."""
    batch, steps, hidden = shape
    nodes = [helper.make_node("Split", ["x"], [f"x{t}" for t in range(steps)], axis=1)]
    one = numpy_helper.from_array(np.array([1], np.int64), "axis")
    zeros = numpy_helper.from_array(np.zeros((batch, hidden), np.float32), "zeros")
    constants = [one, zeros]
    rows = []
    for t in range(steps):
        rows.append(f"h_0_{t}")
        nodes.append(helper.make_node("Squeeze", [f"x{t}", "axis"], [rows[-1]]))
    for number, layer in enumerate(weights, 1):
        constants += _constants(layer, number)
        h = c = "zeros"
        for t in range(steps):
            nodes += _step(f"{number}_{t}", number, rows[t], h, c)
            rows[t] = h = f"h_{number}_{t}"
            c = f"c_{number}_{t}"
    for t, row in enumerate(rows):
        nodes.append(helper.make_node("Unsqueeze", [row, "axis"], [f"y{t}"]))
    nodes.append(helper.make_node("Concat", [f"y{t}" for t in range(steps)], ["y"], axis=1))
    graph = helper.make_graph(
        nodes, "unrolled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _constants(layer: LayerWeights, number: int) -> list[TensorProto]:
    wb, rb = np.split(layer.b[0], 2)
    arrays = {"w": layer.w[0].T, "r": layer.r[0].T, "b": wb + rb}
    return [
        numpy_helper.from_array(np.ascontiguousarray(array), f"{name}_{number}")
        for name, array in arrays.items()
    ]


def _step(at: str, layer: int, x: str, h: str, c: str) -> list[NodeProto]:
    """h and c of one step, from those of the step before."""
    made = [
        ("MatMul", [x, f"w_{layer}"], ["xw"]),
        ("MatMul", [h, f"r_{layer}"], ["hr"]),
        ("Add", ["xw", "hr"], ["sum"]),
        ("Add", ["sum", f"b_{layer}"], ["gates"]),
        ("Split", ["gates"], ["i", "o", "f", "g"]),
        ("Sigmoid", ["i"], ["input"]),
        ("Sigmoid", ["o"], ["output"]),
        ("Sigmoid", ["f"], ["forget"]),
        ("Tanh", ["g"], ["cell"]),
        ("Mul", ["forget", c], ["kept"]),
        ("Mul", ["input", "cell"], ["new"]),
        ("Add", ["kept", "new"], ["c"]),
        ("Tanh", ["c"], ["squashed"]),
        ("Mul", ["output", "squashed"], ["h"]),
    ]
    outside = {x, h, c, f"w_{layer}", f"r_{layer}", f"b_{layer}"}

    def name(value: str) -> str:
        return value if value in outside else f"{value}_{at}"

    nodes = []
    for op, inputs, outputs in made:
        node = helper.make_node(op, [name(v) for v in inputs], [f"{v}_{at}" for v in outputs])
        if op == "Split":
            node.attribute.append(helper.make_attribute("axis", 1))
        nodes.append(node)
    return nodes
