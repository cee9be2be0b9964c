"""Prometheus metrics of a repository, under the names that dashboards for Triton expect.

They are views of `statistics`: nothing is counted twice. docs/guide/serving.md lists them.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from colonnade.serve.describe import all_served
from colonnade.serve.repository import Repository
from colonnade.serve.statistics import LATENCY_BUCKETS_S, ModelStatistics

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
LABELS = ("model", "version")

_COUNTERS = {
    "nv_inference_request_success": "Requests answered",
    "nv_inference_request_failure": "Requests that got no answer, by reason",
    "nv_inference_count": "Rows answered",
    "nv_inference_exec_count": "Runs of the engine",
    "nv_inference_request_duration_us": "Time from arrival to answer, in all",
    "nv_inference_queue_duration_us": "Time in the queue, in all",
    "nv_inference_compute_input_duration_us": "Time to join batches, in all",
    "nv_inference_compute_infer_duration_us": "Time in the engine, in all",
    "nv_inference_compute_output_duration_us": "Time to split batches, in all",
}


def make_metrics(repository: Repository) -> CollectorRegistry:
    """A registry with everything about this repository."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Models(repository))
    return registry


def render(registry: CollectorRegistry) -> bytes:
    """The text that Prometheus reads."""
    return bytes(generate_latest(registry))


def _values(found: ModelStatistics) -> dict[str, float]:
    return {
        "nv_inference_request_success": found.success.count,
        "nv_inference_count": found.inference_count,
        "nv_inference_exec_count": found.execution_count,
        "nv_inference_request_duration_us": (found.success.ns + found.fail.ns) / 1e3,
        "nv_inference_queue_duration_us": found.queue.ns / 1e3,
        "nv_inference_compute_input_duration_us": found.compute_input.ns / 1e3,
        "nv_inference_compute_infer_duration_us": found.compute_infer.ns / 1e3,
        "nv_inference_compute_output_duration_us": found.compute_output.ns / 1e3,
    }


class _Models(Collector):
    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks for."""
        counters = {
            name: CounterMetricFamily(name, text, labels=LABELS)
            for name, text in _COUNTERS.items()
            if name != "nv_inference_request_failure"
        }
        failures = CounterMetricFamily(
            "nv_inference_request_failure",
            _COUNTERS["nv_inference_request_failure"],
            labels=(*LABELS, "reason"),
        )
        pending = GaugeMetricFamily(
            "nv_inference_pending_request_count", "Requests that wait or run", labels=LABELS
        )
        batches = CounterMetricFamily(
            "colonnade_batches", "Runs of the engine by rows", labels=(*LABELS, "rows")
        )
        latency = HistogramMetricFamily(
            "colonnade_request_duration_seconds", "Time from arrival to answer", labels=LABELS
        )
        plan = GaugeMetricFamily(
            "colonnade_plan", "What was compiled, in numbers", labels=(*LABELS, "fact")
        )
        for served in all_served(self._repository):
            labels, found = (served.name, served.version), served.statistics
            for name, value in _values(found).items():
                counters[name].add_metric(labels, value)
            for reason, count in found.failures.items():
                failures.add_metric((*labels, reason), count)
            pending.add_metric(labels, found.pending)
            for rows, batch in found.batches.items():
                batches.add_metric((*labels, str(rows)), batch.compute_infer.count)
            latency.add_metric(labels, _buckets(found.latency.counts), found.latency.total_s)
            for fact, number in served.loaded.facts.items():
                plan.add_metric((*labels, fact), number)
        yield from counters.values()
        yield from (failures, pending, batches, latency, plan)
        yield from _process()


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    edges = [*(f"{edge:g}" for edge in LATENCY_BUCKETS_S), "+Inf"]
    return list(zip(edges, accumulate(counts), strict=True))


def _process() -> Iterator[Metric]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield CounterMetricFamily(
        "process_cpu_seconds", "CPU time of the process", value=usage.ru_utime + usage.ru_stime
    )
    yield GaugeMetricFamily(
        "process_resident_memory_bytes", "Memory of the process", value=_resident_bytes()
    )
    yield GaugeMetricFamily(
        "colonnade_cpus", "CPUs that the process may use", value=len(os.sched_getaffinity(0))
    )


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # on every scrape
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
