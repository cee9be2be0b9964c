"""The integers that weights are rounded to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from colonnade.errors import InputError


@dataclass(frozen=True)
class Grid:
    """A scale for each row: weights become whole multiples of it, at most `limit` of them."""

    scale: np.ndarray
    limit: int

    def round(self, column: np.ndarray) -> np.ndarray:
        """One column on the grid; zero stays zero."""
        steps = np.clip(np.rint(column / self.scale), -self.limit, self.limit)
        return np.asarray(steps * self.scale)


def symmetric_grid(weights: np.ndarray, bits: int) -> Grid:
    """The grid of `bits` whose ends are the largest weights of each row."""
    if not 2 <= bits <= 8:
        raise InputError(f"bits={bits}: weights are rounded to 2 to 8 bits")
    limit = 2 ** (bits - 1) - 1
    peaks = np.abs(weights.astype(np.float64)).max(axis=1, initial=0.0)
    return Grid(np.where(peaks > 0, peaks / limit, 1.0), limit)
