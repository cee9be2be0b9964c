"""Resident memory of an engine's process, at rest and at most during runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from colonnade.bench.peers import MemoryUse, Turn

WARM_UP_RUNS = 3
MEASURED_RUNS = 5


@dataclass(frozen=True)
class MemoryReport:
    """Bytes of the whole process, Python and libraries included."""

    library_bytes: int
    """Resident once the engine's library was imported, before it saw a model."""
    ready_bytes: int
    """Resident after warm-up, between runs."""
    peak_run_bytes: int
    """Most that was resident during runs after warm-up."""


class MemoryMeter(Protocol):
    """What `measure_memory` needs of a worker."""

    @property
    def library_bytes(self) -> int:
        """Resident bytes before the model was read."""

    def measure(self, iterations: int) -> Turn:
        """Run that often."""

    def memory(self, *, reset_peak: bool = False) -> MemoryUse:
        """Resident bytes; with `reset_peak` the peak starts again from here."""


def measure_memory(meter: MemoryMeter) -> MemoryReport:
    """Warm up, forget the peak so far (compilation), run, read the peak."""
    meter.measure(WARM_UP_RUNS)
    ready = meter.memory(reset_peak=True)
    meter.measure(MEASURED_RUNS)
    return MemoryReport(meter.library_bytes, ready.rss_bytes, meter.memory().peak_bytes)
