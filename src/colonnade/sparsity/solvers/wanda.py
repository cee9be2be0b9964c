"""Wanda: a weight counts with the norm of its input; weights of one output compete.

M. Sun, Z. Liu, A. Bair, J. Z. Kolter, "A Simple and Effective Pruning Approach for Large Language
Models", 2023.
"""

from __future__ import annotations

import numpy as np


def wanda_costs(weights: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """w^2 |x|^2: the error of one weight's removal alone; `squares` are sums of x^2 by input."""
    return np.asarray(np.square(weights.astype(np.float64)) * squares[None, :])
