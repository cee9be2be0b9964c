"""Answers that agree, and answers that must not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from colonnade.bench.agreement import absolute_tolerance, compare_outputs, max_abs_error

EXPECTED = np.array([[100.0, -3.0], [0.5, 0.0]], np.float32)


def test_equal_answers() -> None:
    found = compare_outputs({"y": EXPECTED.copy()}, {"y": EXPECTED})
    assert found.is_close
    assert found.max_abs_error == 0.0


@pytest.mark.parametrize(("factor", "is_close"), [(0.9, True), (1.1, False)])
def test_the_border_of_the_tolerance(factor: float, is_close: bool) -> None:
    made = EXPECTED.astype(np.float64)
    made[1, 1] += factor * absolute_tolerance(EXPECTED)
    found = compare_outputs({"y": made}, {"y": EXPECTED})
    assert found.is_close is is_close
    assert found.worst_output == "y"


def test_tolerance_follows_scale_and_type() -> None:
    assert absolute_tolerance(EXPECTED * 2) == 2 * absolute_tolerance(EXPECTED)
    assert absolute_tolerance(EXPECTED.astype(np.float16)) > absolute_tolerance(EXPECTED)
    assert absolute_tolerance(EXPECTED, 0.5) == 50.0
    assert absolute_tolerance(np.array([7, 9])) == 0.0
    assert absolute_tolerance(np.array([7, 9], np.uint8)) == 1.0


def test_integers_must_be_equal() -> None:
    assert not compare_outputs({"i": np.array([1, 2])}, {"i": np.array([1, 3])}).is_close


def test_nan_and_infinity_must_be_in_the_same_places() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert max_abs_error(odd, odd) == 0.0
    for other in ([1.0, np.inf, -np.inf, 1.0], [np.nan, -np.inf, -np.inf, 1.0]):
        assert math.isinf(max_abs_error(np.array(other), odd))


def test_shapes_counts_and_text() -> None:
    assert not compare_outputs({"y": EXPECTED[:1]}, {"y": EXPECTED}).is_close
    assert not compare_outputs({}, {"y": EXPECTED}).is_close
    words = np.array(["a", "b"], object)
    assert compare_outputs({"w": words}, {"w": words.copy()}).is_close
    assert not compare_outputs({"w": words}, {"w": words[::-1]}).is_close


def test_renamed_outputs_are_compared_in_order() -> None:
    made = {"first": EXPECTED, "second": EXPECTED + 1}
    assert compare_outputs(made, {"a": EXPECTED, "b": EXPECTED + 1}).is_close
    assert not compare_outputs(made, {"a": EXPECTED + 1, "b": EXPECTED}).is_close


def test_the_worst_output_is_the_one_furthest_over_its_own_tolerance() -> None:
    large, small = np.full(3, 1e6), np.full(3, 1.0)
    made = {"large": large + 0.5 * absolute_tolerance(large), "small": small + 0.01}
    found = compare_outputs(made, {"large": large, "small": small})
    assert found.worst_output == "small"
    assert not found.is_close
