"""Hessians made safe to invert."""

from __future__ import annotations

import numpy as np

DAMPING = 0.01
"""Share of the mean diagonal that is added to it."""


def damped(hessian: np.ndarray, share: float = DAMPING) -> np.ndarray:
    """A float64 copy that is positive definite: inputs that are always zero get a 1 as well."""
    made = np.array(hessian, np.float64)
    diagonal = made.diagonal()
    level = float(diagonal.mean()) if diagonal.size else 0.0
    added = np.where(diagonal > 0, share * level, max(level, 1.0))
    made[np.diag_indices_from(made)] += added
    return made


def error_of(change: np.ndarray, hessian: np.ndarray) -> float:
    """trace(E H E^T): the squared error of the layer's output over the calibration data."""
    wide = change.astype(np.float64)
    return float(np.einsum("ij,ij->", wide @ hessian, wide))
