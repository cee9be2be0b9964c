"""Deviation: what masks leave out, and what is no answer at all."""

from __future__ import annotations

import math

import numpy as np
import pytest

from colonnade.quantization.deviation import Deviation


def deviation(exact: list[float], answer: list[float]) -> Deviation:
    found = Deviation()
    found.add(np.array(exact, np.float32), np.array(answer, np.float32))
    return found


def test_elements_that_are_not_finite_are_left_out_where_they_are_alike() -> None:
    found = deviation([1, 2, -math.inf, math.nan], [1, 2.5, -math.inf, math.nan])
    assert (found.signal, found.noise, found.max_error, found.peak) == (5.0, 0.25, 0.5, 2.0)
    assert found.count == 2


@pytest.mark.parametrize(
    ("exact", "answer"),
    [
        ([1, -math.inf], [1, 7]),
        ([1, -math.inf], [1, math.inf]),
        ([1, -math.inf], [1, math.nan]),
        ([1, math.nan], [1, 7]),
        ([1, 2], [1, math.nan]),
        ([1, 2], [1, math.inf]),
    ],
)
def test_elements_that_differ_in_it_are_the_largest_error(
    exact: list[float], answer: list[float]
) -> None:
    found = deviation(exact, answer)
    assert found.max_error == math.inf
    assert found.sqnr_db == -math.inf
