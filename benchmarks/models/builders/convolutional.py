"""Writes convolution networks node by node with random weights: for speed, not for answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
Pair = tuple[int, int]


class Writer:
    """Appends nodes; each method takes and returns the name of a value of [batch, C, H, W].

    Weights are He-scaled: behind a relu, every convolution's output has a variance of about 1,
    which is what its batch normalisation expects.
    """

    def __init__(self, seed: int, epsilon: float = 1e-5) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.channels: dict[str, int] = {"input": 3}
        self._random = np.random.default_rng(seed)
        self._epsilon = epsilon

    def conv(
        self,
        x: str,
        out: int,
        kernel: int | Pair,
        stride: int = 1,
        pad: int | Pair = 0,
        *,
        group: int = 1,
        bias: bool = False,
    ) -> str:
        """A convolution; `pad` is the same on both sides of an axis."""
        height, width = _pair(kernel)
        shape = (out, self.channels[x] // group, height, width)
        inputs = [x, self._constant(self._he(shape))]
        if bias:
            inputs.append(self._constant(self._normal(0.0, 0.1, out)))
        return self._node(
            "Conv", inputs, out, kernel_shape=[height, width], strides=[stride, stride],
            pads=[*_pair(pad), *_pair(pad)], group=group,
        )  # fmt: skip

    def norm(self, x: str, variance: float = 1.0) -> str:
        """Batch normalisation of an input with about that variance."""
        channels = self.channels[x]
        stats = (
            self._random.uniform(0.7, 1.3, channels).astype(np.float32),
            self._normal(0.0, 0.2, channels),
            self._normal(0.0, 0.2, channels),
            (variance * self._random.uniform(0.7, 1.4, channels)).astype(np.float32),
        )
        inputs = [x, *(self._constant(array) for array in stats)]
        return self._node("BatchNormalization", inputs, channels, epsilon=self._epsilon)

    def relu(self, x: str) -> str:
        """max(x, 0)"""
        return self._node("Relu", [x], self.channels[x])

    def relu6(self, x: str) -> str:
        """As exporters write it: Clip with two scalars."""
        for name, value in (("zero", 0.0), ("six", 6.0)):
            self.constants.setdefault(name, np.array(value, np.float32))
        return self._node("Clip", [x, "zero", "six"], self.channels[x])

    def add(self, a: str, b: str) -> str:
        """a + b"""
        return self._node("Add", [a, b], self.channels[a])

    def concat(self, parts: Sequence[str]) -> str:
        """Side by side along the channels."""
        return self._node("Concat", list(parts), sum(self.channels[p] for p in parts), axis=1)

    def max_pool(self, x: str, stride: int = 2, pad: int = 0, *, ceil: bool = False) -> str:
        """3 x 3"""
        return self._node(
            "MaxPool", [x], self.channels[x], kernel_shape=[3, 3], strides=[stride, stride],
            pads=[pad] * 4, ceil_mode=int(ceil),
        )  # fmt: skip

    def mean_pool(self, x: str) -> str:
        """3 x 3 with stride 1, zeros around the image counted."""
        return self._node(
            "AveragePool", [x], self.channels[x], kernel_shape=[3, 3], strides=[1, 1],
            pads=[1] * 4, count_include_pad=1,
        )  # fmt: skip

    def flat_mean(self, x: str) -> str:
        """The mean of each channel: [batch, C]."""
        pooled = self._node("GlobalAveragePool", [x], self.channels[x])
        return self._node("Flatten", [pooled], self.channels[x])

    def linear(self, x: str, out: int) -> str:
        """[batch, C] to [batch, out]"""
        width = self.channels[x]
        weight = self._constant(self._normal(0.0, width**-0.5, out, width))
        bias = self._constant(self._normal(0.0, 0.1, out))
        return self._node("Gemm", [x, weight, bias], out, transB=1)

    def save(self, logits: str, path: Path, side: int) -> None:
        """Write the model of `input` [batch, 3, side, side] and `logits` [batch, classes]."""
        self.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
        image: list[str | int | None] = ["batch", 3, side, side]
        classes: list[str | int | None] = ["batch", self.channels[logits]]
        graph = helper.make_graph(
            self.nodes, path.stem,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, classes)],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )  # fmt: skip
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)

    def _he(self, shape: tuple[int, ...]) -> np.ndarray:
        return self._normal(0.0, (2.0 / float(np.prod(shape[1:]))) ** 0.5, *shape)

    def _normal(self, mean: float, deviation: float, *shape: int) -> np.ndarray:
        return (mean + deviation * self._random.standard_normal(shape)).astype(np.float32)

    def _constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.constants)}"
        self.constants[name] = array
        return name

    def _node(self, op: str, inputs: list[str], channels: int, **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        self.channels[name] = channels
        return name


def _pair(size: int | Pair) -> Pair:
    return (size, size) if isinstance(size, int) else size
