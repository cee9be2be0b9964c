"""The search for the point of saturation, and the load around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from colonnade.bench.load.outcome import Step
from colonnade.errors import RunError

GAIN_MIN = 1.05
"""More clients are tried as long as they bring so much more goodput..."""

FLAT_STEPS_MAX = 2
"""...with so many steps in a row that do not."""

LATENCY_FACTOR_MAX = 2.0
"""A load is carried while p99 stays below so many times the unloaded p99..."""

GOODPUT_SHARE_MIN = 0.95
"""...and so much of what is offered gets an answer."""

LOADS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0)
"""Offered loads, as shares of saturation."""

RunClosed = Callable[[int], Awaitable[Step]]
RunOpen = Callable[[float], Awaitable[Step]]


@dataclass(frozen=True)
class LoadTest:
    """`closed`: waiting clients, which find saturation. `open`: arrivals at given rates."""

    closed: tuple[Step, ...]
    open: tuple[Step, ...]

    @property
    def saturation_per_s(self) -> float | None:
        """The best goodput that waiting clients got."""
        return max((step.goodput_per_s for step in self.closed), default=None)

    @property
    def unloaded_p99_ms(self) -> float | None:
        """p99 at the lightest load."""
        lightest = next(iter(self.closed or self.open), None)
        return lightest.p99_ms if lightest else None

    @property
    def carried_per_s(self) -> float | None:
        """The largest offered load that is answered, in at most twice the unloaded p99."""
        unloaded_ms = self.unloaded_p99_ms
        carried = [
            step.offered_per_s
            for step in self.open
            if unloaded_ms is not None
            and step.p99_ms is not None
            and step.p99_ms <= LATENCY_FACTOR_MAX * unloaded_ms
            and step.goodput_per_s >= GOODPUT_SHARE_MIN * step.offered_per_s
        ]
        return max(carried, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "saturation_per_s": self.saturation_per_s,
            "unloaded_p99_ms": self.unloaded_p99_ms,
            "carried_per_s": self.carried_per_s,
            "closed": [asdict(step) for step in self.closed],
            "open": [asdict(step) for step in self.open],
        }


async def find_saturation(run: RunClosed, clients_max: int) -> list[Step]:
    """Steps of 1, 2, 4, ... clients, until more of them bring no more goodput."""
    steps: list[Step] = []
    best, flat, clients = 0.0, 0, 1
    while clients <= clients_max and flat < FLAT_STEPS_MAX:
        step = await run(clients)
        if not step.goodput_per_s:
            raise RunError(f"{clients} clients got no right answer: {step.outcomes or 'none'}")
        flat = flat + 1 if step.goodput_per_s < GAIN_MIN * best else 0
        best = max(best, step.goodput_per_s)
        steps.append(step)
        clients *= 2
    return steps


async def run_load_test(
    closed: RunClosed,
    open_: RunOpen,
    clients_max: int,
    loads: Sequence[float] = LOADS,
    rates: Sequence[float] = (),
) -> LoadTest:
    """Saturation, then the given loads around it; with `rates`, these only."""
    if rates:
        return LoadTest((), tuple([await open_(rate) for rate in sorted(rates)]))
    steps = await find_saturation(closed, clients_max)
    best = max(step.goodput_per_s for step in steps)
    return LoadTest(tuple(steps), tuple([await open_(best * load) for load in sorted(loads)]))
