"""What the memory measurement asks for, in order."""

from __future__ import annotations

from colonnade.bench.memory import MEASURED_RUNS, WARM_UP_RUNS, MemoryReport, measure_memory
from colonnade.bench.peers import MemoryUse, Turn


class FakeMeter:
    """Compilation has peaked at 900; runs need 40 above the 100 at rest."""

    library_bytes = 50

    def __init__(self) -> None:
        self.log: list[str] = []
        self._peak = 900

    def measure(self, iterations: int) -> Turn:
        self.log.append(f"run {iterations}")
        self._peak = max(self._peak, 140)
        return Turn([1] * iterations, iterations, 0, 0)

    def memory(self, *, reset_peak: bool = False) -> MemoryUse:
        self.log.append("reset" if reset_peak else "read")
        if reset_peak:
            self._peak = 100
        return MemoryUse(100, self._peak)


def test_the_peak_is_that_of_runs_after_warm_up() -> None:
    meter = FakeMeter()
    assert measure_memory(meter) == MemoryReport(50, 100, 140)
    assert meter.log == [f"run {WARM_UP_RUNS}", "reset", f"run {MEASURED_RUNS}", "read"]
