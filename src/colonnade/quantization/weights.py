"""Weights as int8 and biases as int32, as products of 8-bit integers want them.

Symmetric: a weight that is 0 stays 0 exactly, so pruned layers stay sparse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from colonnade.quantization.ranges import MIN_SCALE

WEIGHT_MAX = 127
BIAS_MAX = 1 << 30
"""Half of what int32 holds: the product's sum needs room beside the bias."""


@dataclass(frozen=True)
class QuantizedWeights:
    """int8 weights and int32 bias; scales float32, [] or one for each output feature."""

    weights: np.ndarray
    scale: np.ndarray
    bias: np.ndarray | None
    bias_scale: np.ndarray


def quantize_weights(
    weights: np.ndarray, axis: int, bias: np.ndarray | None, x_scale: float, *, per_channel: bool
) -> QuantizedWeights:
    """`weights` float32 with features on `axis`, `bias` float32 [features].

    The bias's scale is x_scale times the weights', so a channel whose weights are tiny beside its
    bias, or all zero, gets a larger scale than its weights ask for.
    """
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    peaks = np.abs(rows).max(axis=1)
    bias_peaks = np.zeros_like(peaks) if bias is None else np.abs(bias.astype(np.float64))
    if not per_channel:
        peaks, bias_peaks = peaks.max(keepdims=True), bias_peaks.max(keepdims=True)
    least = np.maximum(bias_peaks / (x_scale * BIAS_MAX), MIN_SCALE / min(x_scale, 1.0))
    wanted = np.maximum(peaks / WEIGHT_MAX, least)
    wanted[(peaks == 0) & (bias_peaks == 0)] = 1.0
    scale = wanted.astype(np.float32)
    along = [1] * weights.ndim
    along[axis] = -1
    steps = np.rint(weights / scale.astype(np.float64).reshape(along))
    integers = np.clip(steps, -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)
    scale = scale if per_channel else scale.reshape(())
    bias_scale = (scale * np.float32(x_scale)).astype(np.float32)
    return QuantizedWeights(integers, scale, _quantize_bias(bias, bias_scale), bias_scale)


def _quantize_bias(bias: np.ndarray | None, scale: np.ndarray) -> np.ndarray | None:
    if bias is None:
        return None
    limits = np.iinfo(np.int32)
    steps = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    return np.clip(steps, limits.min, limits.max).astype(np.int32)


def fits_float32(weights: np.ndarray, x_scale: float) -> bool:
    """False when the scale of the products, and so of the bias, is beyond float32."""
    peak = float(np.abs(weights).max(initial=0.0))
    return x_scale * peak / WEIGHT_MAX < float(np.finfo(np.float32).max)
