"""Where a run's time goes, node by node, from traces of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NUM_TRACES = 15
"""Traced runs; the table shows medians over them."""

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Layer:
    """One node, or one layout conversion, of the plan."""

    name: str
    kernel: str
    """Several are joined by " + "."""
    sparsity: float | None
    """Share of zeros in its weight; None where it has none."""
    ms: float
    """Time of its units, over all threads, divided by the number of threads."""
    share: float
    """Of the time of all units."""


def tabulate_layers(
    traces: Sequence[Sequence[Event]], sparsity: Mapping[str, float], threads: int
) -> tuple[Layer, ...]:
    """In order of the first trace. `sparsity`: by the node's name."""
    if not traces:
        return ()
    sums = [_sum_units(events) for events in traces]
    medians = {
        name: float(np.median([found.get(name, 0.0) for found in sums])) / threads
        for name in sums[0]
    }
    whole = sum(medians.values()) or 1.0
    kernels = _kernels(traces[0])
    return tuple(
        Layer(name, " + ".join(kernels[name]), sparsity.get(name), ms, ms / whole)
        for name, ms in medians.items()
    )


def _sum_units(events: Sequence[Event]) -> dict[str, float]:
    """Milliseconds by name, in order of the first unit."""
    sums: dict[str, float] = {}
    for event in sorted(events, key=lambda event: float(event["start_us"])):
        name = str(event["name"])
        sums[name] = sums.get(name, 0.0) + float(event["dur_us"]) / 1e3
    return sums


def _kernels(events: Sequence[Event]) -> dict[str, list[str]]:
    """The kernels of each name, as they start."""
    found: dict[str, list[str]] = {}
    for event in sorted(events, key=lambda event: float(event["start_us"])):
        kernels = found.setdefault(str(event["name"]), [])
        if event["kernel"] not in kernels:
            kernels.append(str(event["kernel"]))
    return found


def layer_rows(layers: Sequence[Layer]) -> list[tuple[str, ...]]:
    """For a table: name, kernel, zeros, ms, share."""
    return [
        (
            layer.name,
            layer.kernel,
            "" if layer.sparsity is None else f"{layer.sparsity:.1%}",
            f"{layer.ms:.4f}",
            f"{layer.share:.1%}",
        )
        for layer in layers
    ]
