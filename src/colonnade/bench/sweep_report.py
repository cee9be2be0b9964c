"""A sweep as plain data (JSON, CSV) and as a table for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from colonnade.bench.machine import describe_machine
from colonnade.bench.sweep import DENSE, SweepPoint, SweepResult

SWEEP_FIELDS = (
    "level",
    "zeros",
    "structure",
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
    "gain",
    "gain_low",
    "gain_high",
    "lead",
    "isa",
    "max_abs_error",
)
"""Keys of an entry of `results`, and columns of the CSV. gain: throughput over the same engine's at
level 0, with the quartiles of the rounds; lead: the first engine's throughput over this one's."""


def sweep_document(found: SweepResult) -> dict[str, Any]:
    """Everything measured, ready for JSON."""
    workload = found.sweep.workload
    return {
        "results": [_to_row(found, point) for point in found.points],
        "break_even": found.break_even,
        "agreed": found.is_agreed,
        "imposed": found.imposed.to_dict(),
        "failures": dict(found.failures),
        "notes": list(found.notes),
        "shapes": {name: list(shape) for name, shape in found.shapes.items()},
        "streams": workload.streams,
        "schedule": asdict(workload.schedule),
        "machine": describe_machine(),
    }


def _to_row(found: SweepResult, point: SweepPoint) -> dict[str, Any]:
    latency, workload = point.latency, found.sweep.workload
    return {
        "level": point.level,
        "zeros": point.zeros,
        "structure": found.sweep.structure,
        "engine": point.engine,
        "version": point.version,
        "model": workload.model.name,
        "batch_size": found.batch_size,
        "threads": workload.threads,
        "median_ms": latency.median_ms,
        "p90_ms": latency.p90_ms,
        "p99_ms": latency.p99_ms,
        "min_ms": latency.min_ms,
        "throughput_per_s": latency.throughput_per_s,
        "iterations": latency.iterations,
        "gain": point.gain.ratio,
        "gain_low": point.gain.low,
        "gain_high": point.gain.high,
        "lead": None if point.lead is None else point.lead.ratio,
        "isa": point.isa,
        "max_abs_error": None if point.agreement is None else point.agreement.max_abs_error,
        "load_ms": point.load_ms,
    }


def sweep_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows' SWEEP_FIELDS as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, SWEEP_FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def sweep_table(found: SweepResult) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: a row for each level, the first engine's figures and each peer's."""
    first, *peers = dict.fromkeys(point.engine for point in found.points)
    columns = ["sparsity", "median ms", "items/s", "gain", "middle half"]
    for peer in peers:
        columns += [f"{peer} ms", f"/ {peer}"]
    theirs = {(point.engine, point.level): point for point in found.points}
    rows = []
    for point in found.of(first):
        row = [
            f"{point.level:.0%}",
            f"{point.latency.median_ms:.3f}",
            f"{point.latency.throughput_per_s:.2f}",
            f"{point.gain.ratio:.2f}",
            f"{point.gain.low:.2f} to {point.gain.high:.2f}",
        ]
        for peer in peers:
            other = theirs[peer, point.level]
            assert other.lead is not None
            row += [f"{other.latency.median_ms:.3f}", f"{other.lead.ratio:.2f}"]
        rows.append(row)
    return columns, rows


def break_even_lines(found: SweepResult) -> list[str]:
    """From which level on the first engine is the faster one."""
    first = found.sweep.workload.engines[0]
    lines = []
    for name, level in found.break_even.items():
        other = f"{first} at sparsity 0" if name == DENSE else name
        if level is None:
            lines.append(f"break-even: {first} is not faster than {other} at the last level")
        elif level == 0:
            lines.append(f"break-even: {first} is faster than {other} at every level")
        else:
            lines.append(f"break-even: {first} is faster than {other} from {level:.1%} zeros on")
    return lines
