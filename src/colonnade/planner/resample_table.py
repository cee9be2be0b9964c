"""Where each output position of a Resize reads: source positions, then indices and weights.

Coordinates are computed in float32 like ONNX Runtime does, so that positions which fall on a
rounding border fall on the same side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from colonnade.planner.index_table import FILL


@dataclass(frozen=True, slots=True)
class ResizedAxis:
    """One axis: sizes, output / input scale, and the part of the input that a crop reads."""

    in_dim: int
    out_dim: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)

    def is_identity(self, transform: str) -> bool:
        """True when every output position is the input position."""
        is_whole = transform != "tf_crop_and_resize" or self.roi == (0.0, 1.0)
        return self.in_dim == self.out_dim and self.scale == 1.0 and is_whole


@dataclass(frozen=True, slots=True)
class Taps:
    """[out_dim, taps] indices and weights; FILL as first index marks an outside position."""

    indices: np.ndarray
    weights: np.ndarray


def source_positions(axis: ResizedAxis, transform: str) -> np.ndarray | None:
    """Position in the input of each output position; None for an unknown transformation."""
    x = np.arange(axis.out_dim, dtype=np.float32)
    scale, half = np.float32(axis.scale), np.float32(0.5)
    last = np.float32(axis.in_dim - 1)
    if transform == "asymmetric":
        return x / scale
    if transform == "half_pixel" or (transform == "pytorch_half_pixel" and axis.out_dim > 1):
        return (x + half) / scale - half
    if transform == "pytorch_half_pixel":
        return np.zeros_like(x)
    if transform == "tf_half_pixel_for_nn":
        return (x + half) / scale
    if transform == "align_corners":
        return x * last / np.float32(max(axis.out_dim - 1, 1))
    if transform == "half_pixel_symmetric":
        adjustment = np.float32(axis.out_dim) / (scale * np.float32(axis.in_dim))
        offset = np.float32(axis.in_dim) * half * (np.float32(1) - adjustment)
        return offset + (x + half) / scale - half
    if transform == "tf_crop_and_resize":
        begin, end = (np.float32(edge) for edge in axis.roi)
        if axis.out_dim == 1:
            return np.full_like(x, half * (begin + end) * last)
        return begin * last + x * (end - begin) * last / np.float32(axis.out_dim - 1)
    return None


def nearest_table(axis: ResizedAxis, transform: str, rounding: str) -> np.ndarray | str:
    """Input index of each output position; FILL outside a crop. A string is a refusal."""
    x = source_positions(axis, transform)
    if x is None:
        return f"coordinate transformation {transform!r}"
    exact = x.astype(np.float64)  # Adding one half is then exact.
    if rounding == "round_prefer_floor":
        index = np.ceil(exact - 0.5)
    elif rounding == "round_prefer_ceil":
        index = np.floor(exact + 0.5)
    elif rounding == "floor":
        index = np.floor(x)
    elif rounding == "ceil":
        index = np.ceil(x)
    elif rounding == "simple":  # Before opset 11: towards the end when it shrinks.
        index = np.ceil(x) if axis.scale < 1 else np.trunc(x)
    else:
        return f"nearest mode {rounding!r}"
    table = np.clip(index, 0, axis.in_dim - 1).astype(np.int64)
    return np.where(_is_outside(axis, x, transform), FILL, table)


def linear_taps(axis: ResizedAxis, transform: str, *, antialias: bool = False) -> Taps | str:
    """Triangle filter: two taps, more when it shrinks and `antialias` is set."""
    x = source_positions(axis, transform)
    if x is None:
        return f"coordinate transformation {transform!r}"
    if antialias and axis.scale < 1:
        return _filtered(axis, x, transform, 1.0, lambda t: np.maximum(1.0 - t, 0.0), False)
    inside = np.clip(x, 0, axis.in_dim - 1).astype(np.float64)
    low = np.minimum(np.floor(inside).astype(np.int64), axis.in_dim - 1)
    high = np.minimum(low + 1, axis.in_dim - 1)
    fraction = inside - low
    taps = Taps(np.stack([low, high], 1), np.stack([1.0 - fraction, fraction], 1))
    return _mark_outside(axis, x, transform, taps)


def cubic_taps(
    axis: ResizedAxis,
    transform: str,
    *,
    a: float,
    antialias: bool = False,
    exclude_outside: bool = False,
) -> Taps | str:
    """Keys' cubic filter with parameter `a`: four taps, more when it shrinks with `antialias`."""
    x = source_positions(axis, transform)
    if x is None:
        return f"coordinate transformation {transform!r}"

    def cubic(t: np.ndarray) -> np.ndarray:
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        return np.where(t <= 1, near, np.where(t < 2, far, 0.0))

    shrunk = axis if antialias else ResizedAxis(axis.in_dim, axis.out_dim, 1.0, axis.roi)
    return _filtered(shrunk, x, transform, 2.0, cubic, exclude_outside)


def _filtered(
    axis: ResizedAxis,
    x: np.ndarray,
    transform: str,
    support: float,
    kernel: Callable[[np.ndarray], np.ndarray],
    exclude_outside: bool,
) -> Taps:
    """Weights kernel(|i - x| * min(scale, 1)) on every index within the support, summing to 1."""
    narrow = min(axis.scale, 1.0)
    reach = int(np.ceil(support / narrow))
    center = np.floor(x).astype(np.int64)
    raw = center[:, None] + np.arange(1 - reach, reach + 1)
    weights = kernel(np.abs(raw - x.astype(np.float64)[:, None]) * narrow)
    if exclude_outside:
        weights = np.where((raw >= 0) & (raw < axis.in_dim), weights, 0.0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    taps = Taps(np.clip(raw, 0, axis.in_dim - 1), weights)
    return _mark_outside(axis, x, transform, taps)


def _is_outside(axis: ResizedAxis, x: np.ndarray, transform: str) -> np.ndarray:
    if transform != "tf_crop_and_resize":
        return np.zeros(x.shape, np.bool_)
    outside: np.ndarray = (x < 0) | (x > axis.in_dim - 1)
    return outside


def _mark_outside(axis: ResizedAxis, x: np.ndarray, transform: str, taps: Taps) -> Taps:
    indices = taps.indices.copy()
    indices[_is_outside(axis, x, transform), 0] = FILL
    return Taps(indices, taps.weights)
