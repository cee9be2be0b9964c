"""Schedules of the N:M recipes against their published and derived figures."""

from __future__ import annotations

import pytest

from colonnade.sparsify.nm.flow import (
    FLOWS,
    Flow,
    FlowSchedule,
    Phases,
    decay_constant,
    frames,
    leak,
    mean_density,
    switches,
)
from colonnade.sparsify.nm.pattern import NMPattern, parse_nm


@pytest.mark.parametrize(
    ("steps", "expected"), [(0, 1.0), (1000, 0.904837), (10_000, 0.367879), (46_052, 0.0100)]
)
def test_exponential_leak(steps: int, expected: float) -> None:
    assert round(leak("exponential", steps, 1e-4), 6) == pytest.approx(expected, abs=5e-7)


def test_linear_leak_ends() -> None:
    assert leak("linear", 1249, 8e-4) > 0
    assert leak("linear", 1250, 8e-4) == leak("linear", 9999, 8e-4) == 0


def test_decay_constant() -> None:
    assert round(decay_constant("exponential", 46_052), 8) == 1e-4
    assert leak("linear", 500, decay_constant("linear", 500)) == 0


@pytest.mark.parametrize(
    ("structure", "target", "expected"),
    [
        ("stepwise", "1:8", {0: "7:8", 25: "4:8", 50: "2:8", 75: "1:8"}),
        ("stepwise", "1:16", {0: "15:16", 20: "8:16", 40: "4:16", 60: "2:16", 80: "1:16"}),
        (
            "stepwise",
            "1:32",
            {0: "31:32", 16: "16:32", 33: "8:32", 50: "4:32", 66: "2:32", 83: "1:32"},
        ),
        ("stepwise", "2:4", {0: "3:4", 50: "2:4"}),
        ("stepwise", "1:4", {0: "3:4", 33: "2:4", 66: "1:4"}),
        ("stepwise", "2:16", {0: "15:16", 25: "8:16", 50: "4:16", 75: "2:16"}),
        ("stepwise", "1:2", {0: "1:2"}),
        ("geometric", "1:8", {0: "8:64", 25: "4:32", 50: "2:16", 75: "1:8"}),
        ("geometric", "2:4", {0: "16:32", 25: "8:16", 50: "4:8", 75: "2:4"}),
        ("densify", "1:8", {0: "1:64", 25: "1:32", 50: "1:16", 75: "1:8"}),
        ("fixed", "1:8", {0: "1:8"}),
        ((parse_nm("3:8"), parse_nm("1:8")), "1:8", {0: "3:8", 50: "1:8"}),
    ],
)
def test_switches(structure: str, target: str, expected: dict[int, str]) -> None:
    found = switches(structure, parse_nm(target), Phases(100))
    assert {start: str(pattern) for start, pattern in found.items()} == expected


def test_switches_lie_between_dense_and_fine_tune() -> None:
    found = switches("stepwise", parse_nm("1:8"), Phases(350, dense=35, fine_tune=35))
    assert {start: str(p) for start, p in found.items()} == {
        35: "7:8",
        105: "4:8",
        175: "2:8",
        245: "1:8",
    }


@pytest.mark.parametrize(
    ("structure", "target", "density"),
    [
        ("stepwise", "1:8", 0.4375),
        ("stepwise", "1:16", 0.375),
        ("stepwise", "1:32", 0.3229),
        ("geometric", "1:8", 0.125),
    ],
)
def test_mean_density(structure: str, target: str, density: float) -> None:
    assert round(mean_density(frames(structure, parse_nm(target))), 4) == density


def test_mean_density_in_whole_epochs() -> None:
    schedule = FlowSchedule(FLOWS["sdgf-stepwise"], parse_nm("1:32"), Phases(100))
    assert round(schedule.mean_density, 4) == 0.3184


def test_mask_decay_over_the_phases() -> None:
    schedule = FlowSchedule(
        Flow(leak="linear", c=0.1), NMPattern(1, 4), Phases(30, dense=10, fine_tune=15)
    )
    assert schedule.at(9).is_dense
    assert schedule.at(10).leak == 1
    assert schedule.at(12).leak == pytest.approx(0.8)
    # The leak is still open at the end of the sparse phase: fine-tuning closes it.
    assert schedule.at(14).leak > 0
    assert schedule.at(15) == schedule.at(1000) == schedule.final
    assert schedule.final.leak == 0


def test_structure_then_mask_decay() -> None:
    schedule = FlowSchedule(FLOWS["sdgf-mdgf"], NMPattern(1, 8), Phases(100))
    assert [(str(at.pattern), at.leak) for at in map(schedule.at, (0, 30, 60))] == [
        ("7:8", 0),
        ("4:8", 0),
        ("2:8", 0),
    ]
    last = schedule.at(75)
    assert (str(last.pattern), last.leak, str(last.outer)) == ("1:8", 1, "2:8")
    assert 0 < schedule.at(99).leak < 0.02


def test_phases_that_leave_no_room() -> None:
    with pytest.raises(ValueError, match="10 steps do not hold 6 dense and 4 fine-tuning"):
        Phases(10, dense=6, fine_tune=4)


def test_a_structure_ends_in_its_target() -> None:
    with pytest.raises(ValueError, match="its target, 1:8"):
        frames((NMPattern(2, 8),), NMPattern(1, 8))
