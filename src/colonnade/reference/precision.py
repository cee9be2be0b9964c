"""Compute wider than the operands, round once at the end."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike


def wide(x: np.ndarray) -> np.ndarray:
    """Floats as float64; every other type as it is."""
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def mean(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The mean over the axes, kept dimensions; NaN over nothing."""
    count = math.prod(x.shape[axis] for axis in axes)
    return np.asarray(np.sum(x, axis=axes, keepdims=True) / np.float64(count))


def narrow(x: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """The result in the output type."""
    return np.asarray(x).astype(dtype, copy=False)
