"""A comparison as plain data (JSON, CSV), as a text for people, and as the old benchmark's keys."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from colonnade.bench.compare import Comparison, EngineResult
from colonnade.bench.harness import Timing
from colonnade.bench.machine import describe_machine

RESULT_FIELDS = (
    "engine",
    "version",
    "model",
    "batch_size",
    "threads",
    "median_ms",
    "p90_ms",
    "p99_ms",
    "min_ms",
    "throughput_per_s",
    "iterations",
    "isa",
    "max_abs_error",
)
"""Keys of an entry of `results`, and columns of the CSV. throughput_per_s counts input rows:
batch_size times runs per second."""

PERCENTILES = (25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
SCENARIOS = {"sync": "singlestream", "async": "multistream", "elastic": "elastic"}


def to_document(comparison: Comparison) -> dict[str, Any]:
    """Everything measured, ready for JSON."""
    workload = comparison.workload
    document: dict[str, Any] = {
        "results": [to_row(comparison, result) for result in comparison.results],
        "ratios": [asdict(ratio) for ratio in comparison.ratios],
        "agreed": comparison.is_agreed,
        "failures": dict(comparison.failures),
        "notes": list(comparison.notes),
        "shapes": {name: list(shape) for name, shape in comparison.shapes.items()},
        "streams": workload.streams,
        "schedule": asdict(workload.schedule),
        "machine": describe_machine(),
    }
    if comparison.layers:
        document["layers"] = [asdict(layer) for layer in comparison.layers]
    return document


def to_row(comparison: Comparison, result: EngineResult) -> dict[str, Any]:
    """One entry of `results`: RESULT_FIELDS first, then what only JSON carries."""
    latency, workload = result.latency, comparison.workload
    error = None if result.agreement is None else _finite(result.agreement.max_abs_error)
    row: dict[str, Any] = {
        "engine": result.engine,
        "version": result.version,
        "model": workload.model.name,
        "batch_size": comparison.batch_size,
        "threads": workload.threads,
        "median_ms": latency.median_ms,
        "p90_ms": latency.p90_ms,
        "p99_ms": latency.p99_ms,
        "min_ms": latency.min_ms,
        "throughput_per_s": latency.throughput_per_s,
        "iterations": latency.iterations,
        "isa": result.isa,
        "max_abs_error": error,
        "agreed": result.agreement is None or result.agreement.is_close,
        "tolerance": None if result.agreement is None else result.agreement.tolerance,
        "mean_ms": latency.mean_ms,
        "std_ms": latency.std_ms,
        "load_ms": result.load_ms,
        "idle_cpus": result.idle_cpus,
        "plan": dict(result.details) or None,
    }
    if result.memory is not None:
        row["memory"] = asdict(result.memory)
    return row


def _finite(value: float) -> float | str:
    """JSON has no infinity."""
    return value if np.isfinite(value) else "inf"


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows' RESULT_FIELDS as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, RESULT_FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def deepsparse_keys(comparison: Comparison, scenario: str) -> dict[str, Any]:
    """The first engine's figures under the keys that `deepsparse.benchmark -x` wrote."""
    workload, first = comparison.workload, comparison.results[0]
    shapes = [list(shape) for shape in comparison.shapes.values()]
    return {
        "engine": first.engine,
        "version": first.version,
        "orig_model_path": str(workload.origin or workload.model),
        "model_path": str(workload.model),
        "batch_size": comparison.batch_size,
        "input_shapes": ",".join(str(shape).replace(" ", "") for shape in shapes),
        "num_cores": workload.threads,
        "scenario": SCENARIOS[scenario],
        "scheduler": scenario,
        "seconds_to_run": workload.schedule.seconds,
        "num_streams": workload.streams,
        "benchmark_result": _benchmark_result(comparison, comparison.timings[0], scenario),
        "fraction_of_supported_ops": _native_share(first),
    }


def _benchmark_result(comparison: Comparison, timing: Timing, scenario: str) -> dict[str, Any]:
    latency = comparison.results[0].latency
    times = timing.times_ms
    return {
        "scenario": SCENARIOS[scenario],
        "items_per_sec": latency.throughput_per_s,
        "seconds_ran": timing.wall_ms / 1e3,
        "iterations": latency.iterations,
        "median": latency.median_ms,
        "mean": latency.mean_ms,
        "std": latency.std_ms,
        **{f"{share}%": float(np.percentile(times, share)) for share in PERCENTILES},
    }


def _native_share(result: EngineResult) -> float | None:
    native, fallback = result.details.get("num_native"), result.details.get("num_fallback")
    if native is None or fallback is None or native + fallback == 0:
        return None
    return float(native / (native + fallback))


def summary_lines(comparison: Comparison, scenario: str) -> list[str]:
    """The first engine's figures in the lines that scripts know from `deepsparse.benchmark`."""
    latency, workload = comparison.results[0].latency, comparison.workload
    return [
        f"Original Model Path: {workload.origin or workload.model}",
        f"Batch Size: {comparison.batch_size}",
        f"Scenario: {scenario}",
        f"Throughput (items/sec): {latency.throughput_per_s:.4f}",
        f"Latency Mean (ms/batch): {latency.mean_ms:.4f}",
        f"Latency Median (ms/batch): {latency.median_ms:.4f}",
        f"Latency Std (ms/batch): {latency.std_ms:.4f}",
        f"Iterations: {latency.iterations}",
    ]
