"""Turns, budgets and idle CPU time, on a clock that only the fake engines move."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from colonnade.bench.harness import Clock, Schedule, time_engines, turn_iterations
from colonnade.bench.peers import Turn


@dataclass
class FakeTime:
    """Seconds that pass only when someone says so."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.seconds, self.sleep)


@dataclass
class FakeEngine:
    """Takes `run_s` a run, `first_extra_s` more for the first run of a turn."""

    name: str
    time: FakeTime
    run_s: float
    log: list[tuple[str, int]]
    first_extra_s: float = 0.0
    spin_cpus: float = 0.0
    born_at: float = 0.0

    def measure(self, iterations: int) -> Turn:
        self.log.append((self.name, iterations))
        start = self.time.seconds
        times = [self.run_s] * iterations
        times[0] += self.first_extra_s
        self.time.seconds += sum(times)
        return Turn(
            [round(seconds * 1e9) for seconds in times],
            round(sum(times) * 1e9),
            round(self.spin_cpus * (start - self.born_at) * 1e9),
            round(self.spin_cpus * (self.time.seconds - self.born_at) * 1e9),
        )


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def log() -> list[tuple[str, int]]:
    return []


NO_WARM_UP = Schedule(seconds=1.0, warm_up_s=0.0, turn_s=0.1, settle_s=0.0)


def test_engines_take_turns(fake_time: FakeTime, log: list[tuple[str, int]]) -> None:
    engines = [FakeEngine(name, fake_time, 0.01, log) for name in "abc"]
    time_engines(engines, NO_WARM_UP, fake_time.clock())
    turns = [name for name, _ in log][3:]
    assert turns == ["a", "b", "c"] * (len(turns) // 3)
    assert len(turns) >= 3 * NO_WARM_UP.rounds_min


def test_turns_last_alike_whatever_the_engine(
    fake_time: FakeTime, log: list[tuple[str, int]]
) -> None:
    fast, slow = (
        FakeEngine(*named, log) for named in (("f", fake_time, 0.002), ("s", fake_time, 0.05))
    )
    time_engines([fast, slow], NO_WARM_UP, fake_time.clock())
    counted = dict(log[2:4])
    assert counted == {"f": 50 + 1, "s": 2 + 1}


def test_the_first_run_of_a_turn_is_not_counted(
    fake_time: FakeTime, log: list[tuple[str, int]]
) -> None:
    engine = FakeEngine("a", fake_time, 0.01, log, first_extra_s=0.5)
    (timing,) = time_engines([engine], NO_WARM_UP, fake_time.clock())
    assert timing.times_ms.max() == pytest.approx(10.0)
    assert timing.wall_ms == pytest.approx(10.0 * timing.iterations)


def test_a_run_longer_than_a_turn_is_counted(
    fake_time: FakeTime, log: list[tuple[str, int]]
) -> None:
    engine = FakeEngine("a", fake_time, 0.4, log)
    (timing,) = time_engines([engine], NO_WARM_UP, fake_time.clock())
    assert {iterations for _, iterations in log[1:]} == {1}
    assert timing.iterations == len(log) - 1


def test_the_budget_is_for_each_engine(fake_time: FakeTime, log: list[tuple[str, int]]) -> None:
    engines = [FakeEngine(name, fake_time, 0.01, log) for name in "ab"]
    schedule = Schedule(seconds=3.0, warm_up_s=1.0, turn_s=0.1, settle_s=0.0)
    time_engines(engines, schedule, fake_time.clock())
    assert 2 * (1.0 + 3.0) <= fake_time.seconds < 2 * (1.0 + 3.0) + 0.5


def test_no_budget_still_measures_the_fewest_rounds(
    fake_time: FakeTime, log: list[tuple[str, int]]
) -> None:
    engine = FakeEngine("a", fake_time, 0.01, log)
    schedule = Schedule(seconds=0.0, warm_up_s=0.0, rounds_min=1)
    (timing,) = time_engines([engine], schedule, fake_time.clock())
    assert len(timing.rounds_ms) == 1


def test_iterations_stop_early(fake_time: FakeTime, log: list[tuple[str, int]]) -> None:
    engine = FakeEngine("a", fake_time, 0.01, log)
    schedule = Schedule(seconds=100.0, warm_up_s=0.0, turn_s=0.1, iterations_max=25)
    (timing,) = time_engines([engine], schedule, fake_time.clock())
    assert 25 <= timing.iterations < 25 + 10


def test_idle_cpus_of_an_engine_that_spins(fake_time: FakeTime, log: list[tuple[str, int]]) -> None:
    spinning = FakeEngine("s", fake_time, 0.01, log, spin_cpus=2.0)
    sleeping = FakeEngine("q", fake_time, 0.01, log)
    timings = time_engines([spinning, sleeping], NO_WARM_UP, fake_time.clock())
    assert timings[0].idle_cpus == pytest.approx(2.0)
    assert timings[1].idle_cpus == 0.0


def test_engines_settle_before_each_turn(fake_time: FakeTime, log: list[tuple[str, int]]) -> None:
    engines = [FakeEngine(name, fake_time, 0.01, log) for name in "ab"]
    schedule = Schedule(seconds=1.0, warm_up_s=0.0, settle_s=0.02)
    timings = time_engines(engines, schedule, fake_time.clock())
    assert fake_time.slept == [0.02] * sum(len(timing.rounds_ms) for timing in timings)


def test_progress_rises_to_one(fake_time: FakeTime, log: list[tuple[str, int]]) -> None:
    shares: list[float] = []
    engine = FakeEngine("a", fake_time, 0.01, log)
    time_engines([engine], NO_WARM_UP, fake_time.clock(), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("run_s", "turn_s", "expected"), [(0.01, 0.1, 10), (1.0, 0.1, 1), (0.0, 0.1, 1)]
)
def test_turn_iterations(run_s: float, turn_s: float, expected: int) -> None:
    assert turn_iterations(run_s, turn_s) == expected


def test_round_medians(fake_time: FakeTime, log: list[tuple[str, int]]) -> None:
    engine = FakeEngine("a", fake_time, 0.03, log)
    (timing,) = time_engines([engine], NO_WARM_UP, fake_time.clock())
    np.testing.assert_allclose(timing.round_medians_ms, 30.0)
