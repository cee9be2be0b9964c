"""An ONNX model evaluated in float64: the answer that float32 engines are measured against.

onnx's own reference evaluator runs the graph; torch computes the operators for which the
evaluator is slow, rounds to float32 or has no implementation. The evaluator passes every
attribute, so they name some that they need not look at.
"""

# ruff: noqa: ARG002

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch.nn import functional

Arrays = dict[str, np.ndarray]


def exact_outputs(path: Path, feeds: Arrays) -> list[np.ndarray]:
    """Outputs in graph order, every float32 of the model and its inputs widened."""
    evaluator = ReferenceEvaluator(widen(onnx.load(path)), new_ops=WIDE_OPS)
    wide = {
        name: array.astype(np.float64) if array.dtype == np.float32 else array
        for name, array in feeds.items()
    }
    return [np.asarray(output) for output in evaluator.run(None, wide)]


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with float64 where it had float32."""
    graph = model.graph
    for value in [*graph.input, *graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            _widen_attribute(node, attribute)
    del graph.value_info[:]
    return model


def _widen_attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> None:
    if attribute.type == onnx.AttributeProto.TENSOR:
        _widen_tensor(attribute.t)
    elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
        attribute.i = TensorProto.DOUBLE
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        values = np.array(attribute.f if attribute.name == "value_float" else attribute.floats)
        attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(values)))


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def _t(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.require(array, requirements=("C", "W")))


def _pad(x: torch.Tensor, pads: list[int], value: float) -> torch.Tensor:
    """ONNX pads (all begins, all ends) of the spatial axes, as torch wants them."""
    rank = len(pads) // 2
    pairs = [(pads[axis], pads[axis + rank]) for axis in reversed(range(rank))]
    return functional.pad(x, [side for pair in pairs for side in pair], value=value)


class Conv(OpRun):
    """Convolution of one or two spatial axes."""

    def _run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        b: np.ndarray | None = None,
        auto_pad: str = "NOTSET",
        dilations: list[int] | None = None,
        group: int = 1,
        kernel_shape: list[int] | None = None,
        pads: list[int] | None = None,
        strides: list[int] | None = None,
    ) -> tuple[np.ndarray]:
        rank = x.ndim - 2
        kernel, strides = list(w.shape[2:]), list(strides or [1] * rank)
        dilations = list(dilations or [1] * rank)
        pads = _resolved_pads(auto_pad, pads, x.shape[2:], kernel, strides, dilations)
        run = functional.conv1d if rank == 1 else functional.conv2d
        bias = None if b is None else _t(b)
        y = run(_pad(_t(x), pads, 0.0), _t(w), bias, strides, 0, dilations, group)
        return (y.numpy(),)


class ConvTranspose(OpRun):
    """Transposed convolution, without padding modes."""

    def _run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        b: np.ndarray | None = None,
        auto_pad: str = "NOTSET",
        dilations: list[int] | None = None,
        group: int = 1,
        kernel_shape: list[int] | None = None,
        output_padding: list[int] | None = None,
        output_shape: list[int] | None = None,
        pads: list[int] | None = None,
        strides: list[int] | None = None,
    ) -> tuple[np.ndarray]:
        assert auto_pad == "NOTSET"
        assert not output_shape
        pads = list(pads or [0, 0, 0, 0])
        assert pads[:2] == pads[2:]
        y = functional.conv_transpose2d(
            _t(x),
            _t(w),
            None if b is None else _t(b),
            strides or [1, 1],
            pads[:2],
            output_padding or [0, 0],
            group,
            dilations or [1, 1],
        )
        return (y.numpy(),)


class MaxPool(OpRun):
    """Maximum over a two-dimensional window."""

    def _run(
        self,
        x: np.ndarray,
        auto_pad: str = "NOTSET",
        ceil_mode: int = 0,
        dilations: list[int] | None = None,
        kernel_shape: list[int] | None = None,
        pads: list[int] | None = None,
        storage_order: int = 0,
        strides: list[int] | None = None,
    ) -> tuple[np.ndarray]:
        assert kernel_shape is not None
        strides, dilations = list(strides or [1, 1]), list(dilations or [1, 1])
        pads = _resolved_pads(auto_pad, pads, x.shape[2:], kernel_shape, strides, dilations)
        padded = _pad(_t(x), pads, -math.inf)
        y = functional.max_pool2d(padded, kernel_shape, strides, 0, dilations, bool(ceil_mode))
        return (y.numpy(),)


class AveragePool(OpRun):
    """Mean over a two-dimensional window that lies inside the image."""

    def _run(
        self,
        x: np.ndarray,
        auto_pad: str = "NOTSET",
        ceil_mode: int = 0,
        count_include_pad: int = 0,
        dilations: list[int] | None = None,
        kernel_shape: list[int] | None = None,
        pads: list[int] | None = None,
        strides: list[int] | None = None,
    ) -> tuple[np.ndarray]:
        assert kernel_shape is not None
        assert not any(pads or [])
        y = functional.avg_pool2d(_t(x), kernel_shape, strides or [1, 1], 0, bool(ceil_mode))
        return (y.numpy(),)


class Resize(OpRun):
    """Nearest neighbour by a whole factor."""

    def _run(
        self,
        x: np.ndarray,
        roi: np.ndarray | None = None,
        scales: np.ndarray | None = None,
        sizes: np.ndarray | None = None,
        mode: str = "nearest",
        **_: Any,
    ) -> tuple[np.ndarray]:
        assert mode == "nearest"
        by_size = sizes is not None and sizes.size
        factors = np.array(sizes) / x.shape if by_size else np.asarray(scales)
        assert np.all(factors == np.round(factors))
        for axis, factor in enumerate(factors.astype(int)):
            x = np.repeat(x, factor, axis=axis)
        return (x,)


class BatchNormalization(OpRun):
    """With stored statistics; onnx's own mixes in those of the batch at old opsets."""

    def _run(
        self,
        x: np.ndarray,
        scale: np.ndarray,
        b: np.ndarray,
        mean: np.ndarray,
        var: np.ndarray,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        spatial: int = 1,
        training_mode: int = 0,
    ) -> tuple[np.ndarray]:
        assert not training_mode
        y = functional.batch_norm(_t(x), _t(mean), _t(var), _t(scale), _t(b), False, 0.0, epsilon)
        return (y.numpy(),)


class Erf(OpRun):
    """The error function; onnx's own rounds to float32."""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (torch.special.erf(_t(x)).numpy(),)


class LayerNormalization(OpRun):
    """Normalisation over the last axes; onnx's own computes in `stash_type`."""

    def _run(
        self,
        x: np.ndarray,
        scale: np.ndarray,
        b: np.ndarray | None = None,
        axis: int = -1,
        epsilon: float = 1e-5,
        stash_type: int = 1,
    ) -> tuple[np.ndarray]:
        axes = tuple(range(axis % x.ndim, x.ndim))
        centred = x - x.mean(axes, keepdims=True)
        y = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + epsilon) * scale
        return (y if b is None else y + b,)


class LSTM(OpRun):
    """One or both directions, default activations, no peepholes, time first."""

    def _run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        r: np.ndarray,
        b: np.ndarray | None = None,
        sequence_lens: np.ndarray | None = None,
        initial_h: np.ndarray | None = None,
        initial_c: np.ndarray | None = None,
        p: np.ndarray | None = None,
        hidden_size: int | None = None,
        direction: str = "forward",
        **options: Any,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert sequence_lens is None
        assert p is None
        assert not any(value for value in options.values())
        zeros = np.zeros((w.shape[0], x.shape[1], r.shape[2]))
        h = zeros if initial_h is None else initial_h
        c = zeros if initial_c is None else initial_c
        bias = np.zeros((w.shape[0], 2 * w.shape[1])) if b is None else b
        runs = []
        for index in range(w.shape[0]):
            backward = index == 1 or direction == "reverse"
            steps = x[::-1] if backward else x
            y, last_h, last_c = _lstm(steps, w[index], r[index], bias[index], h[index], c[index])
            runs.append((y[::-1] if backward else y, last_h, last_c))
        ys, hs, cs = zip(*runs, strict=True)
        return np.stack(ys, axis=1), np.stack(hs), np.stack(cs)


def _lstm(
    x: np.ndarray, w: np.ndarray, r: np.ndarray, b: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One direction; gates in ONNX's order: input, output, forget, cell."""
    outputs = []
    for step in x:
        gates = step @ w.T + h @ r.T + b[: len(w)] + b[len(w) :]
        i, o, f, g = np.split(gates, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), h, c


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return torch.sigmoid(_t(x)).numpy()


def _resolved_pads(
    auto_pad: str,
    pads: list[int] | None,
    sizes: tuple[int, ...],
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
) -> list[int]:
    if auto_pad in ("NOTSET", "VALID", ""):
        return list(pads or [0] * 2 * len(kernel))
    begins, ends = [], []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size)
        small, large = total // 2, total - total // 2
        begins.append(small if auto_pad == "SAME_UPPER" else large)
        ends.append(large if auto_pad == "SAME_UPPER" else small)
    return begins + ends


WIDE_OPS: list[type[OpRun]] = [
    AveragePool,
    BatchNormalization,
    Conv,
    ConvTranspose,
    Erf,
    LSTM,
    LayerNormalization,
    MaxPool,
    Resize,
]
