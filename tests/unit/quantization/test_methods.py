"""Ranges from histograms against answers from the elements themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from colonnade.quantization.histogram import BINS, Extremes, Histogram
from colonnade.quantization.methods import CANDIDATES, Method, find_range
from colonnade.quantization.ranges import LEVELS, Range, choose_scale, make_range

PERCENTILE = 99.0


def relu_like() -> np.ndarray:
    """Half zeros, a one-sided bell, one far outlier."""
    values = np.maximum(np.random.default_rng(3).standard_normal(200_000), 0).astype(np.float32)
    values[17] = 60.0
    return values


def two_sided() -> np.ndarray:
    """Heavy tails, the negative one shorter."""
    rng = np.random.default_rng(4)
    return np.maximum(rng.standard_t(3, 200_000), -6.0).astype(np.float32)


def gelu_like() -> np.ndarray:
    """A tiny negative side."""
    x = np.random.default_rng(5).standard_normal(200_000) * 2
    return (x / (1 + np.exp(-1.7 * x))).astype(np.float32)


DATA = [relu_like, two_sided, gelu_like]


def histogram_of(values: np.ndarray, parts: int = 7) -> Histogram:
    """In two passes over several parts, as calibration does."""
    extremes = Extremes()
    for part in np.array_split(values, parts):
        extremes.add(part)
    whole = make_range(extremes.low, extremes.high)
    histogram = Histogram(whole.low, whole.high)
    for part in np.array_split(values, parts):
        histogram.add(part)
    return histogram


@pytest.mark.parametrize("make", DATA)
def test_every_element_is_counted_once(make: Callable[[], np.ndarray]) -> None:
    values = make()
    histogram = histogram_of(values)
    assert histogram.counts.sum() + histogram.zeros == values.size
    width = (histogram.high - histogram.low) / BINS
    kept = values[values != 0]
    expected, _ = np.histogram(kept, histogram.edges)
    # An element within a rounding of an edge may fall on either side of it.
    near = (
        np.abs(np.rint((kept - histogram.low) / width) * width + histogram.low - kept)
        < 1e-4 * width
    )
    assert np.abs(histogram.counts - expected).sum() <= 2 * near.sum()


@pytest.mark.parametrize("make", DATA)
def test_minmax_is_the_extremes(make: Callable[[], np.ndarray]) -> None:
    values = make()
    found = find_range(histogram_of(values), "minmax", PERCENTILE)
    assert found == Range(min(float(values.min()), 0.0), max(float(values.max()), 0.0))


@pytest.mark.parametrize("make", DATA)
def test_percentile_is_within_a_bin_of_the_sorted_elements(make: Callable[[], np.ndarray]) -> None:
    values = make()
    histogram = histogram_of(values)
    found = find_range(histogram, "percentile", PERCENTILE)
    tail = (100 - PERCENTILE) / 200
    low, high = np.quantile(values, [tail, 1 - tail])
    bin_width = (histogram.high - histogram.low) / BINS
    assert abs(found.low - min(low, 0.0)) <= bin_width
    assert abs(found.high - max(high, 0.0)) <= bin_width


def squared_error(values: np.ndarray, found: Range) -> float:
    """Of the elements themselves, quantized and back."""
    scale = choose_scale(found)
    steps = np.clip(np.rint(values / float(scale.scale)) + int(scale.zero), 0, LEVELS)
    return float(np.mean(((steps - int(scale.zero)) * float(scale.scale) - values) ** 2))


def candidates(whole: Range) -> list[Range]:
    peak = max(-whole.low, whole.high)
    bounds = [peak * i / CANDIDATES for i in range(CANDIDATES, 0, -1)]
    return [Range(max(whole.low, -b), min(whole.high, b)) for b in bounds]


@pytest.mark.parametrize("make", DATA)
def test_mse_is_as_good_as_brute_force_on_the_elements(make: Callable[[], np.ndarray]) -> None:
    values = make()
    histogram = histogram_of(values)
    found = squared_error(values, find_range(histogram, "mse", PERCENTILE))
    best = min(squared_error(values, c) for c in candidates(Range(histogram.low, histogram.high)))
    # A bin is 1/8 of the whole range's step: its middle errs by width^2 / 12 on the mean.
    bin_width = (histogram.high - histogram.low) / BINS
    assert best <= found <= best + 2 * bin_width**2 / 12


def divergence_by_loops(histogram: Histogram, found: Range) -> float:
    """The definition, bin by bin."""
    counts = histogram.counts
    per_unit = BINS / (histogram.high - histogram.low)
    first = max(int(np.floor((found.low - histogram.low) * per_unit)), 0)
    last = min(int(np.ceil((found.high - histogram.low) * per_unit)), BINS)
    p = [float(c) for c in counts[first:last]]
    p[0] += float(counts[:first].sum())
    p[-1] += float(counts[last:].sum())
    size, q = last - first, [0.0] * (last - first)
    bins_of: dict[int, list[int]] = {}
    for i in range(size):
        bins_of.setdefault(i * 256 // max(size, 256), []).append(i)
    for bins in bins_of.values():
        held = [i for i in bins if p[i] > 0]
        mass = max(sum(float(counts[first + i]) for i in bins), 0.5)
        for i in held:
            q[i] = mass / len(held)
    total_p, total_q = sum(p), sum(q)
    return sum(
        a / total_p * np.log(a / total_p * total_q / b) for a, b in zip(p, q, strict=True) if a > 0
    )


@pytest.mark.parametrize("make", DATA)
def test_entropy_is_the_least_divergence(make: Callable[[], np.ndarray]) -> None:
    values = make()
    histogram = histogram_of(values)
    found = find_range(histogram, "entropy", PERCENTILE)
    tried = candidates(Range(histogram.low, histogram.high))
    assert found in tried
    costs = [divergence_by_loops(histogram, c) for c in tried[:: CANDIDATES // 16]]
    assert divergence_by_loops(histogram, found) <= min(costs) * (1 + 1e-9)


@pytest.mark.parametrize(("method", "share"), [("percentile", 0.5), ("entropy", 0.5), ("mse", 0.9)])
def test_an_outlier_is_clipped(method: Method, share: float) -> None:
    values = relu_like()
    found = find_range(histogram_of(values), method, 99.9)
    assert found.high < values.max() * share
    assert found.low == 0.0


@pytest.mark.parametrize("method", ["entropy", "mse"])
def test_a_uniform_tensor_is_not_clipped(method: Method) -> None:
    values = np.random.default_rng(1).uniform(-1, 1, 200_000).astype(np.float32)
    histogram = histogram_of(values)
    found = find_range(histogram, method, PERCENTILE)
    assert found.high >= histogram.high * (1 - 2 / CANDIDATES)


def test_memory_does_not_grow_with_the_data() -> None:
    histogram = histogram_of(two_sided())
    size = histogram.counts.nbytes
    for _ in range(3):
        histogram.add(two_sided())
    assert histogram.counts.nbytes == size
