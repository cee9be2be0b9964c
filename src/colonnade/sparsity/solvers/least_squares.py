"""fit(): the best weights for a mask."""

from __future__ import annotations

import numpy as np


def fit(
    weights: np.ndarray, hessian: np.ndarray, mask: np.ndarray, *, height: int = 1
) -> np.ndarray:
    """The W' with zeros outside `mask` that minimises trace((W' - W) H (W' - W)^T); float64.

    `hessian` must be positive definite; bands of `height` rows share their mask.
    """
    made = np.where(mask, weights.astype(np.float64), 0.0)
    inverse: np.ndarray | None = None
    for first in range(0, len(weights), height):
        band = slice(first, first + height)
        kept, gone = np.flatnonzero(mask[first]), np.flatnonzero(~mask[first])
        if not kept.size or not gone.size:
            continue
        lost = weights[band][:, gone].astype(np.float64).T
        if kept.size <= gone.size:
            inner = hessian[np.ix_(kept, kept)]
            change = np.linalg.solve(inner, hessian[np.ix_(kept, gone)] @ lost)
        else:
            inverse = np.linalg.inv(hessian) if inverse is None else inverse
            inner = inverse[np.ix_(gone, gone)]
            change = -inverse[np.ix_(kept, gone)] @ np.linalg.solve(inner, lost)
        made[band, kept] += change.T
    return made
