"""Calibration methods: functions from what was seen of a value to the range that is quantized.

All but min-max clip rare large values, so that the others get finer steps. Those that search try
ranges [-t, t] cut to what was seen, so a short side is kept whole until t is shorter still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, get_args

import numpy as np

from colonnade.quantization.histogram import BINS, Histogram
from colonnade.quantization.ranges import LEVELS, Range, choose_scale, make_range

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

CANDIDATES = 128
"""Thresholds that a search tries."""
QUANTIZED_LEVELS = LEVELS + 1


def find_range(histogram: Histogram, method: Method, percentile: float) -> Range:
    """The range to quantize; `percentile` is the share of elements kept, in percent."""
    whole = make_range(histogram.low, histogram.high)
    if method == "minmax" or not histogram.counts.any():
        return whole
    if method == "percentile":
        return _percentile(histogram, percentile)
    cost = _COSTS[method]
    ranges = list(_candidates(whole))
    costs = [cost(histogram, candidate) for candidate in ranges]
    return ranges[int(np.argmin(costs))]


def _percentile(histogram: Histogram, percentile: float) -> Range:
    """Leaves out (100 - percentile) / 2 percent of the elements on each side."""
    edges = histogram.edges
    counts = histogram.counts.astype(np.float64)
    counts[_zero_bin(histogram)] += histogram.zeros
    below = np.concatenate(([0.0], np.cumsum(counts)))
    tail = (100.0 - percentile) / 200.0 * below[-1]
    low = np.interp(tail, below, edges)
    high = np.interp(below[-1] - tail, below, edges)
    return make_range(low, high)


def _zero_bin(histogram: Histogram) -> int:
    place = -histogram.low / (histogram.high - histogram.low) * BINS
    return int(np.clip(place, 0, BINS - 1))


def _candidates(whole: Range) -> Iterator[Range]:
    """From the whole range down; the first of equal costs wins, which clips nothing needlessly."""
    peak = max(-whole.low, whole.high)
    for i in range(CANDIDATES, 0, -1):
        bound = peak * i / CANDIDATES
        yield Range(max(whole.low, -bound), min(whole.high, bound))


def _squared_error(histogram: Histogram, candidate: Range) -> float:
    """Sum of squared differences after quantization; zeros have none."""
    found = choose_scale(candidate)
    scale, zero = float(found.scale), int(found.zero)
    real = histogram.centres
    steps = np.clip(np.rint(real / scale) + zero, 0, LEVELS)
    error = (steps - zero) * scale - real
    return float(histogram.counts @ (error * error))


def _divergence(histogram: Histogram, candidate: Range) -> float:
    """Kullback-Leibler divergence of the quantized from the clipped distribution, without zeros.

    The clipped one has everything outside in its outermost bins; the quantized one spreads the
    counts of each level evenly over its bins that hold something. A level that lost all counts
    half a one, so that the divergence stays finite.
    """
    first, last = _window(histogram, candidate)
    inside = histogram.counts[first:last].astype(np.float64)
    clipped = inside.copy()
    clipped[0] += histogram.counts[:first].sum()
    clipped[-1] += histogram.counts[last:].sum()
    level = np.arange(inside.size) * QUANTIZED_LEVELS // max(inside.size, QUANTIZED_LEVELS)
    holds = clipped > 0
    mass = np.bincount(level, weights=inside)
    bins = np.bincount(level, weights=holds)
    spread = np.where(holds, np.maximum(mass[level], 0.5) / np.maximum(bins[level], 1), 0.0)
    return _kl(clipped, spread)


def _window(histogram: Histogram, candidate: Range) -> tuple[int, int]:
    """The bins that the range touches."""
    per_unit = BINS / (histogram.high - histogram.low)
    first = int(np.floor((candidate.low - histogram.low) * per_unit))
    last = int(np.ceil((candidate.high - histogram.low) * per_unit))
    first, last = max(first, 0), min(max(last, first + 1), BINS)
    return first, last


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    held = p > 0
    p, q = p[held] / p.sum(), q[held] / q.sum()
    return float(np.sum(p * np.log(p / q)))


_COSTS: Mapping[str, Callable[[Histogram, Range], float]] = {
    "entropy": _divergence,
    "mse": _squared_error,
}
