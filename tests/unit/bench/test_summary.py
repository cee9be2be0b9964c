"""Percentiles, throughput and ratios of made-up timings."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.bench.harness import Timing
from colonnade.bench.summary import geometric_mean, summarise, throughput_ratio


def make_timing(engine: str, rounds_ms: list[list[float]], overlap: float = 1.0) -> Timing:
    rounds = [np.array(times) for times in rounds_ms]
    return Timing(engine, rounds, [float(times.sum()) / overlap for times in rounds])


def test_latency() -> None:
    latency = summarise(make_timing("a", [[1.0, 2.0], [3.0, 4.0, 5.0]]), batch_size=4)
    assert latency.median_ms == 3.0
    assert latency.min_ms == 1.0
    assert latency.iterations == 5
    assert latency.p90_ms == pytest.approx(4.6)
    assert latency.throughput_per_s == pytest.approx(4 * 5 / 0.015)


def test_ratio_is_of_medians_with_the_quartiles_of_rounds() -> None:
    own = make_timing("a", [[1.0], [1.0], [1.0], [1.0]])
    peer = make_timing("b", [[1.0], [2.0], [3.0], [4.0]])
    ratio = throughput_ratio(own, peer)
    assert (ratio.engine, ratio.peer, ratio.rounds) == ("a", "b", 4)
    assert ratio.ratio == 2.5
    assert (ratio.low, ratio.high) == (1.75, 3.25)


def test_a_drift_that_hits_both_leaves_no_spread() -> None:
    drift = [1.0, 2.0, 4.0, 3.0]
    own = make_timing("a", [[3 * x] for x in drift])
    peer = make_timing("b", [[6 * x] for x in drift])
    ratio = throughput_ratio(own, peer)
    assert ratio.ratio == ratio.low == ratio.high == 2.0


def test_with_streams_throughput_counts_not_latency() -> None:
    own = make_timing("a", [[4.0, 4.0]] * 3, overlap=4)
    peer = make_timing("b", [[2.0, 2.0]] * 3, overlap=1)
    assert throughput_ratio(own, peer, streams=1).ratio == 0.5
    assert throughput_ratio(own, peer, streams=4).ratio == 2.0
    assert throughput_ratio(own, peer, streams=4).low == 2.0


def test_geometric_mean() -> None:
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert geometric_mean([]) == 1.0
