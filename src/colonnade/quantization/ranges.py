"""From a range of real numbers to the scale and zero point of uint8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVELS = 255
"""Steps between the least and the greatest uint8."""
MIN_SCALE = float(np.finfo(np.float32).tiny)
"""Below it float32 has no full precision, and 1 / scale overflows soon after."""


@dataclass(frozen=True)
class Range:
    """Least and greatest real number; 0 lies between them."""

    low: float
    high: float

    def union(self, other: Range) -> Range:
        """The least range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class Scale:
    """uint8 with this meaning: real = scale (integer - zero)."""

    scale: np.float32
    zero: np.uint8


def make_range(low: float, high: float) -> Range:
    """The range widened to hold 0, which must be an integer exactly: padding and zeros are."""
    return Range(min(float(low), 0.0), max(float(high), 0.0))


def choose_scale(found: Range) -> Scale:
    """Asymmetric uint8. A tensor that is 0 always gets scale 1: any would do, 0 would not."""
    width = found.high - found.low
    if width == 0.0:
        return Scale(np.float32(1.0), np.uint8(0))
    scale = np.float32(max(width / LEVELS, MIN_SCALE))
    zero = np.clip(np.rint(-found.low / float(scale)), 0, LEVELS)
    return Scale(scale, np.uint8(zero))
