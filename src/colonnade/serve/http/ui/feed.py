"""What the page at /ui shows: plain data, made anew for each poll."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colonnade.serve import describe
from colonnade.serve.repository import Entry, Repository
from colonnade.serve.statistics import LATENCY_BUCKETS_S, ModelStatistics

Tasks = Mapping[str, Sequence[Mapping[str, str]]]
"""By model, what it does in tasks: their `name`, `task` (what is done) and what it `takes`."""


def feed(
    repository: Repository, tasks: Tasks, version: str, start_s: float, now_s: float
) -> dict[str, Any]:
    """The server and its models at the time `now_s`, of the clock that `start_s` is of."""
    served = describe.all_served(repository)
    return {
        "version": version,
        "isa": served[0].loaded.engine.isa if served else "",
        "threads": repository.runtime.threads,
        "ready": repository.is_ready,
        "rss_bytes": _rss_bytes(),
        "uptime_s": now_s - start_s,
        "time_s": now_s,
        "bounds_s": LATENCY_BUCKETS_S,
        "models": [
            _model(name, entry, tasks.get(name, ())) for name, entry in repository.models().items()
        ],
    }


def _model(name: str, entry: Entry, tasks: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The newest version that answers, else the newest."""
    ready = describe.ready_versions(entry)
    number = max(ready or entry.versions, key=int, default="")
    version = entry.versions.get(number)
    served = version.served if version else None
    tensors = describe.metadata(served, entry) if served else {"inputs": [], "outputs": []}
    return {
        "name": name,
        "version": number,
        "state": version.state.value if version else "LOADING",
        "reason": version.reason if version else "",
        "tasks": tasks,
        "inputs": tensors["inputs"],
        "outputs": tensors["outputs"],
        "statistics": figures(served.statistics if served else ModelStatistics()),
    }


def figures(found: ModelStatistics) -> Mapping[str, Any]:
    """Counters since the model was loaded; the page takes differences."""
    return {
        "success_count": found.success.count,
        "fail_count": found.fail.count,
        "failures": found.failures,
        "rows": found.inference_count,
        "executions": found.execution_count,
        "queue_ns": found.queue.ns,
        "queue_count": found.queue.count,
        "pending": found.pending,
        "latency": found.latency.counts,
        "batches": {str(size): b.compute_infer.count for size, b in found.batches.items()},
    }


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
