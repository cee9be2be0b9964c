"""Tensors out of attributes and sizes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import (
    dtype_attr,
    float_attr,
    floats_attr,
    has_attr,
    int_attr,
    int_list,
    ints_attr,
    scalar_int,
    tensor_attr,
)
from colonnade.reference.budget import reserve
from colonnade.reference.failure import EvaluationError, UnsupportedNodeError
from colonnade.reference.operation import Operation, Operations, Outputs
from colonnade.reference.precision import narrow

_FLOAT32 = np.dtype(np.float32)


def _constant(node: Node) -> Outputs:
    if has_attr(node, "value"):
        return (tensor_attr(node, "value"),)
    if has_attr(node, "value_int"):
        return (np.array(int_attr(node, "value_int"), np.int64),)
    if has_attr(node, "value_ints"):
        return (np.array(ints_attr(node, "value_ints"), np.int64),)
    if has_attr(node, "value_float"):
        return (np.array(float_attr(node, "value_float"), np.float32),)
    if has_attr(node, "value_floats"):
        return (np.array(floats_attr(node, "value_floats"), np.float32),)
    raise UnsupportedNodeError("Constant that is a string or sparse")


def _constant_of_shape(node: Node, shape: np.ndarray) -> Outputs:
    value = tensor_attr(node, "value") if has_attr(node, "value") else np.zeros(1, np.float32)
    return (np.full(reserve(int_list(shape), value.dtype), value.reshape(-1)[0]),)


def _range(node: Node, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> Outputs:
    del node
    first, last, step = (x.reshape(-1)[0].item() for x in (start, limit, delta))
    if step == 0:
        raise EvaluationError("delta is 0")
    count = max(math.ceil((last - first) / step), 0)
    reserve((count,), start.dtype)
    values = first + np.arange(count, dtype=np.float64 if start.dtype.kind == "f" else None) * step
    return (narrow(values, start.dtype),)


def _eye_like(node: Node, x: np.ndarray) -> Outputs:
    dtype = dtype_attr(node, "dtype", x.dtype)
    rows, columns = reserve(x.shape, dtype)
    return (np.eye(rows, columns, int_attr(node, "k", 0), dtype=dtype),)


def _window(function: Callable[[np.ndarray], np.ndarray]) -> Operation:
    """`function` of the phase, which runs from 0 to 2 pi."""

    def evaluate(node: Node, size: np.ndarray) -> Outputs:
        count = scalar_int(size)
        reserve((count,), np.float64)
        period = count if int_attr(node, "periodic", 1) else count - 1
        phase = 2 * np.pi * np.arange(count) / max(period, 1)
        return (narrow(function(phase), dtype_attr(node, "output_datatype", _FLOAT32)),)

    return evaluate


def _mel_weight_matrix(
    node: Node,
    num_mel_bins: np.ndarray,
    dft_length: np.ndarray,
    sample_rate: np.ndarray,
    lower_edge: np.ndarray,
    upper_edge: np.ndarray,
) -> Outputs:
    bins, length, rate = (scalar_int(x) for x in (num_mel_bins, dft_length, sample_rate))
    low, high = (2595 * math.log10(1 + float(x.item()) / 700) for x in (lower_edge, upper_edge))
    shape = reserve((length // 2 + 1, bins), np.float64)
    mels = low + np.arange(bins + 2) * (high - low) / (bins + 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    edges = ((length + 1) * hertz // rate).astype(int)
    result = np.zeros(shape)
    for i in range(bins):
        left, peak, right = edges[i : i + 3]
        rows = np.arange(shape[0])
        rise = (rows - left) / max(peak - left, 1)
        fall = (right - rows) / max(right - peak, 1)
        is_rising = (rows >= left) & (rows < peak)
        is_falling = (rows >= peak) & (rows < right)
        result[:, i] = np.where(is_rising, rise, np.where(is_falling, fall, 0))
        result[peak, i] = 1
    return (narrow(result, dtype_attr(node, "output_datatype", _FLOAT32)),)


_HAMMING = 25 / 46

OPS: Operations = {
    ("", "Constant"): _constant,
    ("", "ConstantOfShape"): _constant_of_shape,
    ("", "Range"): _range,
    ("", "EyeLike"): _eye_like,
    ("", "HannWindow"): _window(lambda t: 0.5 - 0.5 * np.cos(t)),
    ("", "HammingWindow"): _window(lambda t: _HAMMING - (1 - _HAMMING) * np.cos(t)),
    ("", "BlackmanWindow"): _window(lambda t: 0.42 - 0.5 * np.cos(t) + 0.08 * np.cos(2 * t)),
    ("", "MelWeightMatrix"): _mel_weight_matrix,
}
