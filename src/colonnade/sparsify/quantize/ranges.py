"""Which range of an activation uint8 shall cover, from a histogram of its values.

The same methods as those for ONNX files (`colonnade.quantization.methods`), for tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

BINS = 2048
LEVELS = 255
PERCENTILE = 99.99
SHRINKS = tuple(1 - idx / 100 for idx in range(99))
"""Candidates for the covered share of the greatest magnitude, in the searches."""
Range = tuple[float, float]


@dataclass
class Histogram:
    """Counts in equal bins from `low` to `high`, between which 0 lies; exact zeros apart.

    Zeros are exact whatever the range: behind a ReLU, where they are most of the values, they say
    nothing about it.
    """

    low: float
    high: float
    counts: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.float64))
    zeros: int = 0

    def add(self, values: Tensor) -> None:
        """Count the values of one tensor, which lie in the range."""
        present = values[values != 0].float()
        self.zeros += values.numel() - present.numel()
        if self.high > self.low:
            self.counts += torch.histc(present, BINS, self.low, self.high).cpu()

    @property
    def centers(self) -> Tensor:
        """The middle of each bin."""
        width = (self.high - self.low) / len(self.counts)
        return self.low + width * (torch.arange(len(self.counts), dtype=torch.float64) + 0.5)

    @property
    def counts_with_zeros(self) -> Tensor:
        """The zeros in the bin that they lie in."""
        place = int(-self.low / (self.high - self.low) * len(self.counts))
        counts = self.counts.double().clone()
        counts[min(place, len(counts) - 1)] += self.zeros
        return counts


def min_max(found: Histogram) -> Range:
    """All that was seen."""
    return found.low, found.high


def percentile(found: Histogram, kept: float = PERCENTILE) -> Range:
    """The least range that leaves out at most half of 100 - `kept` percent at either end."""
    counts = found.counts_with_zeros
    below = counts.cumsum(0) / counts.sum()
    width = (found.high - found.low) / len(counts)
    tail = (1 - kept / 100) / 2
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
"""The methods by name; "minmax", as it is called for ONNX files, is "min_max"."""


def find_range(found: Histogram, method: str, kept: float = PERCENTILE) -> Range:
    """What uint8 covers; `kept` is the percentage that the method "percentile" keeps."""
    if found.high <= found.low:
        return found.low, found.high
    return percentile(found, kept) if method == "percentile" else METHODS[method](found)


def _candidates(found: Histogram) -> list[Range]:
    magnitude = max(-found.low, found.high)
    limits = [magnitude * shrink for shrink in SHRINKS]
    return [(max(found.low, -limit), min(found.high, limit)) for limit in limits]


def _squared_error(found: Histogram, option: Range) -> float:
    scale, zero = _grid(option)
    error = (_levels(found.centers, option) - zero) * scale - found.centers
    return float((error.square() * found.counts).sum())


def _grid(option: Range) -> tuple[float, int]:
    scale = max((option[1] - option[0]) / LEVELS, 1e-30)
    return scale, round(-option[0] / scale)


def _levels(values: Tensor, option: Range) -> Tensor:
    """The integers that values are rounded to."""
    scale, zero = _grid(option)
    return ((values / scale).round() + zero).clamp(0, LEVELS)


def _relative_entropy(found: Histogram, option: Range) -> float:
    """KL of the saturated histogram against it with each level's counts spread evenly.

    What saturates is in the outermost bins of the real one only, and the other is a share of all
    values all the same: leaving values out costs entropy, and a range without any is no good one. A
    level that lost all its counts keeps half a one, so that the divergence stays finite.
    """
    first, last = _window(found, option)
    inside = found.counts[first:last].double()
    real = inside.clone()
    real[0] += found.counts[:first].sum()
    real[-1] += found.counts[last:].sum()
    levels = _levels(found.centers[first:last], option).long()
    sums, bins = torch.zeros(2, LEVELS + 1, dtype=torch.float64)
    sums.scatter_add_(0, levels, inside)
    bins.scatter_add_(0, levels, (real > 0).double())
    spread = sums[levels].clamp(min=0.5) / bins[levels].clamp(min=1)
    present = real > 0
    p, q = real[present] / real.sum(), spread[present] / real.sum()
    return float((p * (p / q).log()).sum())


def _window(found: Histogram, option: Range) -> tuple[int, int]:
    """The bins that a range touches: the first, and the one behind the last."""
    bins = len(found.counts)
    per_unit = bins / (found.high - found.low)
    first = max(0, math.floor((option[0] - found.low) * per_unit))
    last = math.ceil((option[1] - found.low) * per_unit)
    return min(first, bins - 1), min(max(last, first + 1), bins)
