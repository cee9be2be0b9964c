"""What a model has done: counters in plain Python, changed by the event loop only.

`statistics` of the protocol, /metrics and the page at /ui are views of these.
"""

from __future__ import annotations

import bisect
import time
from dataclasses import dataclass, field

LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip


@dataclass(slots=True)
class Duration:
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """`count` requests that took this long each."""
        self.count += count
        self.ns += int(seconds * 1e9) * count


@dataclass(slots=True)
class Histogram:
    """Counts by bucket, not cumulated; the last is for everything above."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """One observation."""
        self.counts[bisect.bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True)
class BatchStatistics:
    """Executions of one batch size."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


@dataclass(slots=True)
class ModelStatistics:
    """One version of a model."""

    inference_count: int = 0
    """Rows answered."""
    execution_count: int = 0
    """Runs of the engine."""
    last_inference_ms: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    cache_hit: Duration = field(default_factory=Duration)
    cache_miss: Duration = field(default_factory=Duration)
    batches: dict[int, BatchStatistics] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    failures: dict[str, int] = field(default_factory=dict)
    """By kind of refusal."""
    pending: int = 0
    """Requests that wait or run."""

    def add_failure(self, kind: str, seconds: float) -> None:
        """A request without an answer."""
        self.fail.add(seconds)
        self.failures[kind] = self.failures.get(kind, 0) + 1

    def add_success(self, seconds: float, rows: int) -> None:
        """A request with one."""
        self.success.add(seconds)
        self.latency.add(seconds)
        self.inference_count += rows
        self.last_inference_ms = time.time_ns() // 1_000_000

    def add_execution(
        self, rows: int, requests: int, input_s: float, infer_s: float, output_s: float
    ) -> None:
        """A run of the engine for several requests."""
        self.execution_count += 1
        batch = self.batches.get(rows)
        if batch is None:
            batch = self.batches[rows] = BatchStatistics()
        batch.compute_input.add(input_s)
        batch.compute_infer.add(infer_s)
        batch.compute_output.add(output_s)
        self.compute_input.add(input_s, requests)
        self.compute_infer.add(infer_s, requests)
        self.compute_output.add(output_s, requests)
