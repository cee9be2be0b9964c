"""The search for saturation, on servers that are functions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from colonnade.bench.load.outcome import Step
from colonnade.bench.load.search import LoadTest, find_saturation, run_load_test
from colonnade.errors import RunError


def step(offered: float, goodput: float, p99_ms: float | None = 10.0) -> Step:
    return Step(None, 1.0, 100, offered, goodput, p99_ms, p99_ms, p99_ms, None, 0.0, {"200": 100})


def saturate(goodputs: Sequence[float]) -> list[float]:
    """Goodputs asked for, when 1, 2, 4, ... clients get these."""

    async def run(clients: int) -> Step:
        return step(0.0, goodputs[clients.bit_length() - 1])

    return [found.goodput_per_s for found in asyncio.run(find_saturation(run, 64))]


def test_more_clients_are_tried_until_two_steps_bring_nothing() -> None:
    assert saturate([10, 20, 40, 41, 40, 99, 99]) == [10, 20, 40, 41, 40]


def test_one_flat_step_is_not_the_end() -> None:
    assert saturate([10, 10, 20, 20, 20, 99, 99]) == [10, 10, 20, 20, 20]


def test_the_number_of_clients_is_bounded() -> None:
    assert len(saturate([1, 2, 4, 8, 16, 32, 64])) == 7


def test_a_server_that_answers_nothing_is_an_error() -> None:
    with pytest.raises(RunError, match="1 clients got no right answer"):
        saturate([0])


def test_loads_are_shares_of_saturation() -> None:
    async def closed(clients: int) -> Step:
        return step(0.0, min(50.0, 30.0 * clients))

    async def open_(rate: float) -> Step:
        return step(rate, min(rate, 50.0))

    found = asyncio.run(run_load_test(closed, open_, 64, loads=(2.0, 0.5)))
    assert found.saturation_per_s == 50.0
    assert [s.offered_per_s for s in found.open] == [25.0, 100.0]


def test_given_rates_need_no_search() -> None:
    async def closed(clients: int) -> Step:
        raise AssertionError(clients)

    async def open_(rate: float) -> Step:
        return step(rate, rate)

    found = asyncio.run(run_load_test(closed, open_, 64, rates=(7.0, 3.0)))
    assert [s.offered_per_s for s in found.open] == [3.0, 7.0]
    assert found.saturation_per_s is None


@pytest.mark.parametrize(
    ("steps", "carried"),
    [
        ((step(10, 10, 9.0), step(20, 20, 19.9), step(30, 30, 20.1)), 20),
        ((step(10, 10), step(20, 19.0), step(30, 28.0)), 20),  # 28 of 30 is too little
        ((step(10, 10, 20.1),), None),
        ((step(10, 10, None),), None),
    ],
)
def test_what_is_carried(steps: tuple[Step, ...], carried: float | None) -> None:
    assert LoadTest((step(0.0, 40.0, 10.0),), steps).carried_per_s == carried
