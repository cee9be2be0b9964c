"""Time a callable: medians and percentiles over single runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

WARM_UP_RUNS = 3


@dataclass(frozen=True)
class BenchmarkResult:
    """Latency of one run in milliseconds, and runs per second."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    throughput_per_s: float
    iterations: int


def measure(
    run: Callable[[], object],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> BenchmarkResult:
    """Run for about `seconds` after a short warm-up, at least once."""
    for _ in range(WARM_UP_RUNS):
        run()
    times: list[float] = []
    end = clock() + seconds
    while not times or clock() < end:
        start = clock()
        run()
        times.append(clock() - start)
    ms = np.array(times) * 1e3
    return BenchmarkResult(
        median_ms=float(np.median(ms)),
        p90_ms=float(np.percentile(ms, 90)),
        p99_ms=float(np.percentile(ms, 99)),
        min_ms=float(ms.min()),
        throughput_per_s=1e3 / float(ms.mean()),
        iterations=len(times),
    )
