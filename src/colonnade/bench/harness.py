"""Timing in turns: A B C A B C ..., so that a machine that drifts hits every engine alike.

Only one engine is busy at a time. A turn is many short runs or one long one, about `turn_s`. The
first of several runs warms the caches that the engine before has emptied, and is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from colonnade.bench.peers import TimedEngine, Turn


@dataclass(frozen=True)
class Schedule:
    """How long to measure. Times are for each engine, not for all together."""

    seconds: float = 10.0
    warm_up_s: float = 2.0
    turn_s: float = 0.15
    rounds_min: int = 3
    settle_s: float = 0.005
    """Pause between turns, in which the threads of the engine before stop spinning."""
    iterations_max: int | None = None
    """Counted runs of each engine after which to stop early."""


@dataclass(frozen=True)
class Clock:
    """Where the time comes from, and how to wait."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Timing:
    """Every counted run of one engine, by round."""

    engine: str
    rounds_ms: list[np.ndarray] = field(default_factory=list)
    walls_ms: list[float] = field(default_factory=list)
    """Wall time of each round; below the sum of its runs when several streams overlap."""
    idle_cpu_ns: int = 0
    idle_wall_s: float = 0.0

    @property
    def times_ms(self) -> np.ndarray:
        """All runs in order."""
        return np.concatenate(self.rounds_ms)

    @property
    def iterations(self) -> int:
        """Counted runs."""
        return sum(len(times) for times in self.rounds_ms)

    @property
    def wall_ms(self) -> float:
        """Wall time of all counted runs."""
        return sum(self.walls_ms)

    @property
    def round_costs_ms(self) -> np.ndarray:
        """Wall time per run of each round: the inverse of throughput."""
        return np.array(
            [wall / len(times) for wall, times in zip(self.walls_ms, self.rounds_ms, strict=True)]
        )

    @property
    def round_medians_ms(self) -> np.ndarray:
        """The median of each round."""
        return np.array([np.median(times) for times in self.rounds_ms])

    @property
    def idle_cpus(self) -> float:
        """CPUs that the engine kept busy while another one had its turn; about 0 is fair."""
        return self.idle_cpu_ns / 1e9 / self.idle_wall_s if self.idle_wall_s else 0.0


@dataclass
class _Pace:
    """One engine's place in the rounds."""

    engine: TimedEngine
    timing: Timing
    run_s: float
    """How long a run takes at present."""
    cpu_end_ns: int
    ended_at: float


def time_engines(
    engines: Sequence[TimedEngine],
    schedule: Schedule,
    clock: Clock | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> list[Timing]:
    """Warm every engine up, then time them in turns; `on_progress` gets the share that is done."""
    clock = clock or Clock()
    paces = [_warm_up(engine, schedule, clock) for engine in engines]
    budget_s = schedule.seconds * len(engines)
    start, rounds = clock.now(), 0
    while rounds < schedule.rounds_min or clock.now() - start < budget_s:
        for pace in paces:
            clock.sleep(schedule.settle_s)
            _take_turn(pace, schedule, clock)
        rounds += 1
        if on_progress is not None:
            on_progress(min(1.0, (clock.now() - start) / budget_s) if budget_s > 0 else 1.0)
        if _is_enough(paces, schedule):
            break
    return [pace.timing for pace in paces]


def _warm_up(engine: TimedEngine, schedule: Schedule, clock: Clock) -> _Pace:
    """Run for `warm_up_s`, at least twice: the first run of an engine often does more."""
    end = clock.now() + schedule.warm_up_s
    turn = engine.measure(2)
    run_s = turn.times_ns[-1] / 1e9
    while clock.now() < end:
        remaining_s = end - clock.now()
        turn = engine.measure(turn_iterations(run_s, min(schedule.turn_s, remaining_s)))
        run_s = _typical_s(turn)
    return _Pace(engine, Timing(engine.name), run_s, turn.cpu_end_ns, clock.now())


def _take_turn(pace: _Pace, schedule: Schedule, clock: Clock) -> None:
    idle_s = clock.now() - pace.ended_at
    iterations = turn_iterations(pace.run_s, schedule.turn_s)
    uncounted = 1 if iterations > 1 else 0
    turn = pace.engine.measure(iterations + uncounted)
    counted = np.asarray(turn.times_ns[uncounted:], np.float64) / 1e6
    timing = pace.timing
    timing.idle_cpu_ns += turn.cpu_start_ns - pace.cpu_end_ns
    timing.idle_wall_s += idle_s
    timing.rounds_ms.append(counted)
    counted_wall_ms = turn.wall_ns * float(counted.sum()) / sum(turn.times_ns)
    timing.walls_ms.append(counted_wall_ms)
    pace.run_s = counted_wall_ms / 1e3 / len(counted)
    pace.cpu_end_ns = turn.cpu_end_ns
    pace.ended_at = clock.now()


def turn_iterations(run_s: float, turn_s: float) -> int:
    """Runs that fill a turn; at least one."""
    return max(1, round(turn_s / run_s)) if run_s > 0 else 1


def _typical_s(turn: Turn) -> float:
    """Wall time that one more run would add; streams overlap, so it may be below a run's own."""
    return turn.wall_ns / 1e9 / len(turn.times_ns)


def _is_enough(paces: Sequence[_Pace], schedule: Schedule) -> bool:
    limit = schedule.iterations_max
    return limit is not None and all(pace.timing.iterations >= limit for pace in paces)
