"""Numbers made of timings: percentiles of one engine, ratios between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.bench.harness import Timing


@dataclass(frozen=True)
class Latency:
    """Time of one run in milliseconds, and input rows per second."""

    median_ms: float
    mean_ms: float
    std_ms: float
    min_ms: float
    p90_ms: float
    p99_ms: float
    throughput_per_s: float
    iterations: int


@dataclass(frozen=True)
class Ratio:
    """Throughput of one engine over another's: above 1, the first is faster.

    `ratio` is that of the medians of single runs; with several streams, of runs per second. `low`
    and `high` are the quartiles of the rounds' own ratios.
    """

    engine: str
    peer: str
    ratio: float
    low: float
    high: float
    rounds: int


def summarise(timing: Timing, batch_size: int) -> Latency:
    """Latency over every run; throughput from the wall time of the turns."""
    times = timing.times_ms
    return Latency(
        median_ms=float(np.median(times)),
        mean_ms=float(times.mean()),
        std_ms=float(times.std()),
        min_ms=float(times.min()),
        p90_ms=float(np.percentile(times, 90)),
        p99_ms=float(np.percentile(times, 99)),
        throughput_per_s=batch_size * timing.iterations / timing.wall_ms * 1e3,
        iterations=timing.iterations,
    )


def throughput_ratio(timing: Timing, peer: Timing, streams: int = 1) -> Ratio:
    """How much faster `timing` is than `peer`; rounds are compared pair by pair."""
    if streams == 1:
        ratio = np.median(peer.times_ms) / np.median(timing.times_ms)
        pairs = peer.round_medians_ms / timing.round_medians_ms
    else:
        ratio = (peer.wall_ms / peer.iterations) / (timing.wall_ms / timing.iterations)
        pairs = peer.round_costs_ms / timing.round_costs_ms
    low, high = np.percentile(pairs, [25, 75])
    return Ratio(
        engine=timing.engine,
        peer=peer.engine,
        ratio=float(ratio),
        low=float(low),
        high=float(high),
        rounds=len(pairs),
    )


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean of factors; 1.0 of none."""
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else 1.0
