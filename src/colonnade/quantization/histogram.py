"""What calibration keeps of a value: extremes first, then counts in equal bins between them.

Memory does not grow with the data: BINS counts for each value, whatever its size and the samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

BINS = 2048
"""Eight for each step of uint8 over the whole range."""


@dataclass
class Extremes:
    """Least and greatest element seen; NaN once a NaN was."""

    low: float = np.inf
    high: float = -np.inf

    def add(self, array: np.ndarray) -> None:
        """Count the elements of one sample."""
        if array.size:
            self.low = float(np.minimum(self.low, array.min()))
            self.high = float(np.maximum(self.high, array.max()))

    @property
    def is_finite(self) -> bool:
        """False when some element was infinite or NaN."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high)) or self.is_empty

    @property
    def is_empty(self) -> bool:
        """True before any element."""
        return self.low > self.high


@dataclass
class Histogram:
    """Counts of elements in BINS equal bins over [low, high]; exact zeros are counted apart."""

    low: float
    high: float
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    zeros: int = 0

    def add(self, array: np.ndarray) -> None:
        """Count the elements of one sample; those outside go to the first and the last bin."""
        values = array.reshape(-1)
        values = values[values != 0]
        self.zeros += array.size - values.size
        width = self.high - self.low
        if values.size == 0 or width <= 0:
            return
        places = (values.astype(np.float64) - self.low) * (BINS / width)
        places = np.clip(places.astype(np.int32), 0, BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)

    @property
    def edges(self) -> np.ndarray:
        """Bounds of the bins: BINS + 1 numbers."""
        return np.linspace(self.low, self.high, BINS + 1)

    @property
    def centres(self) -> np.ndarray:
        """Middles of the bins."""
        edges = self.edges
        return np.asarray((edges[:-1] + edges[1:]) / 2)
