"""Which range of an activation uint8 shall cover, from a histogram of its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

BINS = 2048
LEVELS = 255
PERCENTILE = 0.9999
SHRINKS = tuple(1 - idx / 100 for idx in range(99))
"""Candidates for the covered share of the greatest magnitude, in the searches."""
Range = tuple[float, float]


@dataclass(frozen=True)
class Histogram:
    """Counts in equal bins from `low` to `high`; 0 lies between them."""

    counts: Tensor
    low: float
    high: float

    @property
    def centers(self) -> Tensor:
        """The middle of each bin."""
        width = (self.high - self.low) / len(self.counts)
        return self.low + width * (torch.arange(len(self.counts), dtype=torch.float64) + 0.5)


def min_max(found: Histogram) -> Range:
    """All that was seen."""
    return found.low, found.high


def percentile(found: Histogram, share: float = PERCENTILE) -> Range:
    """The least range that leaves out at most half of `1 - share` at either end."""
    below = found.counts.double().cumsum(0) / found.counts.sum()
    width = (found.high - found.low) / len(found.counts)
    tail = (1 - share) / 2
    first = int((below <= tail).sum())
    last = int((below < 1 - tail).sum())
    return min(0.0, found.low + first * width), max(0.0, found.low + (last + 1) * width)


def least_error(found: Histogram) -> Range:
    """The range with the least squared error, saturation included."""
    return min(_candidates(found), key=lambda option: _squared_error(found, option))


def entropy(found: Histogram) -> Range:
    """The range whose quantized distribution is closest to the real one, by relative entropy."""
    return min(_candidates(found), key=lambda option: _relative_entropy(found, option))


METHODS: Mapping[str, Callable[[Histogram], Range]] = MappingProxyType(
    {"min_max": min_max, "percentile": percentile, "entropy": entropy, "mse": least_error}
)
"""The methods by the names that recipes use."""


def _candidates(found: Histogram) -> list[Range]:
    magnitude = max(-found.low, found.high)
    limits = [magnitude * shrink for shrink in SHRINKS]
    return [(max(found.low, -limit), min(found.high, limit)) for limit in limits]


def _levels(values: Tensor, option: Range) -> Tensor:
    scale = max((option[1] - option[0]) / LEVELS, 1e-30)
    zero = round(-option[0] / scale)
    return ((values / scale).round() + zero).clamp(0, LEVELS) - zero


def _squared_error(found: Histogram, option: Range) -> float:
    scale = max((option[1] - option[0]) / LEVELS, 1e-30)
    error = _levels(found.centers, option) * scale - found.centers
    return float((error.square() * found.counts).sum())


def _relative_entropy(found: Histogram, option: Range) -> float:
    """KL of the saturated histogram against it with each level's counts spread evenly."""
    centers, counts = found.centers, found.counts.double()
    inside = (centers >= option[0]) & (centers <= option[1])
    if not bool(inside.any()):
        return float("inf")
    real = torch.where(inside, counts, 0.0)
    first, last = int(inside.nonzero()[0]), int(inside.nonzero()[-1])
    real[first] += counts[:first].sum()
    real[last] += counts[last + 1 :].sum()
    # Saturated values are missing from the quantized side: leaving them out costs entropy.
    levels = (_levels(centers, option) - _levels(centers, option).min()).long()
    occupied = inside & (counts > 0)
    sums = torch.zeros(LEVELS + 1, dtype=torch.float64)
    sizes = torch.zeros(LEVELS + 1, dtype=torch.float64)
    sums.scatter_add_(0, levels[occupied], counts[occupied])
    sizes.scatter_add_(0, levels[occupied], torch.ones_like(counts[occupied]))
    spread = torch.where(occupied, (sums / sizes.clamp(min=1))[levels], 0.0)
    p, q = real / real.sum(), spread / spread.sum().clamp(min=1e-30)
    present = p > 0
    return float((p[present] * (p[present] / q[present].clamp(min=1e-12)).log()).sum())
