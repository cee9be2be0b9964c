"""allocate() against every choice there is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.errors import InputError
from colonnade.search import allocate
from colonnade.search.allocate import CELLS, cheapest

ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), min_size=1, max_size=4),
    min_size=1,
    max_size=5,
)


def total(rows: list[list[float]], levels: tuple[int, ...]) -> float:
    """Of what was chosen."""
    return sum(row[level] for row, level in zip(rows, levels, strict=True))


def best_error(errors: list[list[float]], costs: list[list[float]], budget: float) -> float | None:
    """Over all choices."""
    choices = itertools.product(*(range(len(row)) for row in errors))
    return min((total(errors, c) for c in choices if total(costs, c) <= budget), default=None)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 120))
def test_exact_on_whole_numbers(rows: list[list[tuple[int, int]]], budget: int) -> None:
    errors = [[float(error) for error, _ in row] for row in rows]
    costs = [[float(cost) for _, cost in row] for row in rows]
    expected = best_error(errors, costs, budget)
    if expected is None:
        with pytest.raises(InputError, match="below the cheapest choice"):
            allocate(errors, costs, budget)
        return
    levels = allocate(errors, costs, budget)
    assert total(costs, levels) <= budget
    assert total(errors, levels) == expected


@settings(max_examples=40, deadline=None)
@given(ROWS, st.floats(0, 1), st.floats(0.01, 3))
def test_close_on_any_numbers(
    rows: list[list[tuple[int, int]]], share: float, scale: float
) -> None:
    errors = [[float(error) for error, _ in row] for row in rows]
    costs = [[cost * scale for _, cost in row] for row in rows]
    least, most = sum(map(min, costs)), sum(map(max, costs))
    budget = least + share * (most - least)
    levels = allocate(errors, costs, budget)
    assert total(costs, levels) <= budget * (1 + 1e-9) + 1e-9
    slack = (most - least) * len(rows) / CELLS  # each layer is rounded up by a cell at most
    tighter = best_error(errors, costs, budget - slack - 1e-9)
    assert tighter is None or total(errors, levels) <= tighter


def test_next_to_no_room() -> None:
    assert allocate([[1, 0]], [[0.0, 0.5]], 5e-312) == (0,)


def test_cheapest() -> None:
    assert cheapest([[3, 1, 1], [2, 5]]) == (1, 0)
