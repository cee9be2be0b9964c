"""Compute wider than the operands, round once at the end."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike

Scalar = TypeVar("Scalar", bound=np.generic)


def wide(x: np.ndarray) -> np.ndarray:
    """Floats as float64; every other type as it is."""
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def narrow(x: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """The result in the output type."""
    return np.asarray(x).astype(dtype, copy=False)
