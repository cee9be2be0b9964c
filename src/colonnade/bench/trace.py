"""Traced runs in the Trace Event Format that Chrome's tracing page and Perfetto read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PROCESS = 1


def to_trace_events(events: Sequence[Mapping[str, Any]], model: str) -> dict[str, Any]:
    """One complete event ("X") per node and thread, times in microseconds.

    `events` are those of `Engine.trace`: name, kernel, thread, start_us, dur_us.
    """
    threads = sorted({int(event["thread"]) for event in events})
    named = [_metadata("process_name", 0, f"colonnade: {model}")]
    named += [_metadata("thread_name", thread, f"thread {thread}") for thread in threads]
    return {
        "traceEvents": named + [_complete(event) for event in events],
        "displayTimeUnit": "ms",
    }


def _metadata(what: str, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": PROCESS, "tid": thread, "args": {"name": name}}


def _complete(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ph": "X",
        "pid": PROCESS,
        "tid": int(event["thread"]),
        "name": event["name"] or event["kernel"],
        "cat": event["kernel"],
        "ts": float(event["start_us"]),
        "dur": float(event["dur_us"]),
        "args": {"kernel": event["kernel"]},
    }
