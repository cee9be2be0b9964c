"""Normalisations and softmax, computed in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import (
    axes_of,
    axis_of,
    float_attr,
    has_attr,
    int_attr,
    ints_attr,
)
from colonnade.reference.failure import EvaluationError, UnsupportedNodeError
from colonnade.reference.operation import Operation, Operations, Outputs
from colonnade.reference.precision import mean, narrow, wide


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """exp(x) / sum(exp(x)) without overflow."""
    e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    return np.asarray(e / np.sum(e, axis=axis, keepdims=True))


def log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """log(softmax(x)) without cancellation."""
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True)))


def hardmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """1 at the first maximum along the axis, else 0."""
    result = np.zeros_like(x)
    np.put_along_axis(result, np.argmax(x, axis, keepdims=True), 1, axis)
    return result


def layer_norm(
    x: np.ndarray, axes: tuple[int, ...], epsilon: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x - mean) / deviation over the axes; with the mean and 1 / deviation, kept dimensions."""
    centre = mean(x, axes)
    centred = x - centre
    inverse = 1 / np.sqrt(mean(centred * centred, axes) + epsilon)
    return centred * inverse, centre, inverse


def rms_norm(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    """x / root mean square over the axes."""
    return np.asarray(x / np.sqrt(mean(x * x, axes) + epsilon))


def _along_axis(function: Callable[[np.ndarray, int], np.ndarray]) -> Operation:
    """Before opset 13 the axes from `axis` on count as one."""

    def evaluate(node: Node, x: np.ndarray) -> Outputs:
        if node.version >= 13:
            axis = axis_of(int_attr(node, "axis", -1), x.ndim)
            return (narrow(function(wide(x), axis), x.dtype),)
        axis = axis_of(int_attr(node, "axis", 1), x.ndim)
        rows = math.prod(x.shape[:axis])
        flat = wide(x).reshape(rows, math.prod(x.shape[axis:]))
        return (narrow(function(flat, 1).reshape(x.shape), x.dtype),)

    return evaluate


def _per_channel(values: np.ndarray, rank: int) -> np.ndarray:
    return wide(values).reshape(-1, *([1] * (rank - 2)))


def _batch_norm(
    node: Node,
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    old_mean: np.ndarray,
    old_var: np.ndarray,
) -> Outputs:
    if not int_attr(node, "spatial", 1):
        raise UnsupportedNodeError("BatchNormalization with spatial=0")
    is_training = bool(int_attr(node, "training_mode", 0))
    if node.version < 7:
        is_training = not int_attr(node, "is_test", 0)
    if is_training and node.version < 14:
        raise UnsupportedNodeError("BatchNormalization that trains, before opset 14")
    epsilon, values = float_attr(node, "epsilon", 1e-5), wide(x)
    used_mean, used_var = wide(old_mean), wide(old_var)
    if is_training:
        axes = (0, *range(2, x.ndim))
        centre = mean(values, axes)
        used_mean = centre.reshape(-1)
        used_var = mean((values - centre) ** 2, axes).reshape(-1)
    rank = max(x.ndim, 2)
    factor = _per_channel(scale, rank) / np.sqrt(_per_channel(used_var, rank) + epsilon)
    result = (values - _per_channel(used_mean, rank)) * factor + _per_channel(bias, rank)
    momentum = float_attr(node, "momentum", 0.9)
    running = [
        narrow(wide(old) * momentum + new * (1 - momentum), old.dtype)
        for old, new in ((old_mean, used_mean), (old_var, used_var))
    ]
    return narrow(result, x.dtype), *running


def _layer_normalization(
    node: Node, x: np.ndarray, scale: np.ndarray, bias: np.ndarray | None = None
) -> Outputs:
    axes = tuple(range(axis_of(int_attr(node, "axis", -1), x.ndim), x.ndim))
    result, centre, inverse = layer_norm(wide(x), axes, float_attr(node, "epsilon", 1e-5))
    result = result * wide(scale)
    if bias is not None:
        result = result + wide(bias)
    return narrow(result, x.dtype), centre.astype(np.float32), inverse.astype(np.float32)


def _rms_normalization(node: Node, x: np.ndarray, scale: np.ndarray) -> Outputs:
    axes = tuple(range(axis_of(int_attr(node, "axis", -1), x.ndim), x.ndim))
    result = rms_norm(wide(x), axes, float_attr(node, "epsilon", 1e-5)) * wide(scale)
    return (narrow(result, scale.dtype),)


def _instance_norm(node: Node, x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> Outputs:
    axes = tuple(range(2, x.ndim))
    result, _, _ = layer_norm(wide(x), axes, float_attr(node, "epsilon", 1e-5))
    result = result * _per_channel(scale, x.ndim) + _per_channel(bias, x.ndim)
    return (narrow(result, x.dtype),)


def _group_norm(node: Node, x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> Outputs:
    groups = int_attr(node, "num_groups")
    if groups < 1 or x.ndim < 2 or x.shape[1] % groups:
        raise EvaluationError(f"num_groups={groups} with input {list(x.shape)}")
    grouped = wide(x).reshape(x.shape[0], groups, -1)
    result, _, _ = layer_norm(grouped, (2,), float_attr(node, "epsilon", 1e-5))
    result = result.reshape(x.shape)
    # Opset 18 scales groups, later ones scale channels.
    repeats = x.shape[1] // groups if node.version < 21 else 1
    factor, shift = (_per_channel(np.repeat(v, repeats), x.ndim) for v in (scale, bias))
    return (narrow(result * factor + shift, x.dtype),)


def _lp_normalization(node: Node, x: np.ndarray) -> Outputs:
    axis, p = axis_of(int_attr(node, "axis", -1), x.ndim), int_attr(node, "p", 2)
    size = np.sum(np.abs(wide(x)) ** p, axis=axis, keepdims=True) ** (1 / p)
    return (narrow(np.where(size == 0, 0, wide(x) / np.where(size == 0, 1, size)), x.dtype),)


def _mean_variance(node: Node, x: np.ndarray) -> Outputs:
    axes = axes_of(ints_attr(node, "axes", (0, 2, 3)), x.ndim)
    if not has_attr(node, "axes") and int_attr(node, "across_channels", 0):
        axes = tuple(range(x.ndim))
    values = wide(x)
    centred = values - mean(values, axes)
    deviation = np.sqrt(mean(centred * centred, axes))
    return (narrow(centred / (deviation + 1e-9), x.dtype),)


def _lrn(node: Node, x: np.ndarray) -> Outputs:
    """Divide by the squares of the neighbouring channels."""
    size = int_attr(node, "size")
    alpha, beta = float_attr(node, "alpha", 1e-4), float_attr(node, "beta", 0.75)
    channels = x.shape[1]
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = wide(x) ** 2
    total = np.empty_like(squares)
    for channel in range(channels):
        low, high = max(0, channel - before), min(channels, channel + after + 1)
        total[:, channel] = squares[:, low:high].sum(axis=1)
    return (
        narrow(wide(x) / (float_attr(node, "bias", 1.0) + alpha / size * total) ** beta, x.dtype),
    )


OPS: Operations = {
    ("", "Softmax"): _along_axis(softmax),
    ("", "LogSoftmax"): _along_axis(log_softmax),
    ("", "Hardmax"): _along_axis(hardmax),
    ("", "BatchNormalization"): _batch_norm,
    ("", "LayerNormalization"): _layer_normalization,
    ("", "RMSNormalization"): _rms_normalization,
    ("", "InstanceNormalization"): _instance_norm,
    ("", "GroupNormalization"): _group_norm,
    ("", "LpNormalization"): _lp_normalization,
    ("", "MeanVarianceNormalization"): _mean_variance,
    ("", "LRN"): _lrn,
}
