"""What a server says of its models: plain data that every front end writes in its own form."""

from __future__ import annotations

from typing import Any

from colonnade.engine.engine import TensorInfo
from colonnade.serve.protocol import datatype_of
from colonnade.serve.repository import Entry, Repository
from colonnade.serve.served import ServedModel
from colonnade.serve.statistics import Duration

PLATFORM = "colonnade"
DURATIONS = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit",
    "cache_miss",
)  # fmt: skip
BATCH_DURATIONS = ("compute_input", "compute_infer", "compute_output")


def free_shape(info: TensorInfo) -> list[int]:
    """The shape of an input or output; -1 is a free size."""
    return [dim if isinstance(dim, int) else -1 for dim in info.shape or ()]


def ready_versions(entry: Entry) -> list[str]:
    """The versions that answer, in order."""
    ready = [number for number, version in entry.versions.items() if version.served is not None]
    return sorted(ready, key=int)


def all_served(repository: Repository) -> list[ServedModel]:
    """Every version of every model that answers."""
    return [
        version.served
        for entry in repository.models().values()
        for version in entry.versions.values()
        if version.served is not None
    ]


def metadata(served: ServedModel, entry: Entry) -> dict[str, Any]:
    """Of the protocol's model metadata."""
    signature = served.loaded.signature
    return {
        "name": served.name,
        "versions": ready_versions(entry),
        "platform": PLATFORM,
        "inputs": [_tensor(info) for info in signature.inputs],
        "outputs": [_tensor(info) for info in signature.outputs],
    }


def _tensor(info: TensorInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "datatype": datatype_of(info.dtype),
        "shape": free_shape(info),
    }


def config(served: ServedModel) -> dict[str, Any]:
    """As far as Triton's model configuration has words for it."""
    loaded = served.loaded
    is_batched = loaded.signature.is_batched
    first = 1 if is_batched else 0
    found: dict[str, Any] = {
        "name": served.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": loaded.policy.rows_max if is_batched else 0,
        "input": [_configured(info, first) for info in loaded.signature.inputs],
        "output": [_configured(info, first) for info in loaded.signature.outputs],
    }
    if loaded.config.states:
        idle_us = round(loaded.config.sequence_idle_s * 1e6)
        found["sequence_batching"] = {"max_sequence_idle_microseconds": idle_us}
    elif is_batched:
        found["dynamic_batching"] = {
            "preferred_batch_size": list(loaded.policy.preferred),
            "max_queue_delay_microseconds": round(loaded.policy.delay_s * 1e6),
            "priority_levels": loaded.config.priority_levels,
            "default_priority_level": loaded.config.default_priority,
        }
    return found


def _configured(info: TensorInfo, first: int) -> dict[str, Any]:
    name = datatype_of(info.dtype)
    data_type = "TYPE_STRING" if name == "BYTES" else f"TYPE_{name}"
    return {"name": info.name, "data_type": data_type, "dims": free_shape(info)[first:]}


def statistics(served: ServedModel) -> dict[str, Any]:
    """Of one version."""
    found = served.statistics
    return {
        "name": served.name,
        "version": served.version,
        "last_inference": found.last_inference_ms,
        "inference_count": found.inference_count,
        "execution_count": found.execution_count,
        "inference_stats": {name: _duration(getattr(found, name)) for name in DURATIONS},
        "batch_stats": [
            {
                "batch_size": size,
                **{name: _duration(getattr(batch, name)) for name in BATCH_DURATIONS},
            }
            for size, batch in sorted(found.batches.items())
        ],
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}


def index(repository: Repository, *, ready_only: bool) -> list[dict[str, str]]:
    """Every version that the server knows of."""
    return [
        {"name": name, "version": number, "state": version.state.value, "reason": version.reason}
        for name, entry in repository.models().items()
        for number, version in entry.versions.items()
        if not ready_only or version.served is not None
    ]
