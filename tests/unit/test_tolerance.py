"""The bounds that other tests compare with: wide enough for float32, too narrow for mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from tolerance import max_error, model_tolerance, tolerance, unit_roundoff


@pytest.mark.parametrize("k", [1, 64, 4096])
def test_a_float32_sum_is_within_its_bound(k: int) -> None:
    rng = np.random.default_rng(k)
    a, b = rng.standard_normal((2, 100, k)).astype(np.float32)
    exact = np.einsum("rk,rk->r", a.astype(np.float64), b.astype(np.float64))
    bound = tolerance(k, float(np.abs(a).max()), float(np.abs(b).max()))
    backwards = np.cumsum((a * b)[:, ::-1], axis=1, dtype=np.float32)[:, -1]
    assert max_error(exact, backwards) <= bound
    assert max_error(exact, exact - a[:, 0].astype(np.float64) * b[:, 0]) > bound


def test_unit_roundoff() -> None:
    assert unit_roundoff(np.float32) == 2.0**-24
    assert tolerance(1, 1.0, 1.0, np.float64) < tolerance(1, 1.0, 1.0)


def test_a_model_may_err_a_few_times_as_much_as_its_peer() -> None:
    exact = np.array([3.0, -7.0])
    assert model_tolerance(exact, exact + 1e-5) == pytest.approx(4e-5)


def test_a_lucky_peer_still_leaves_room_for_rounding() -> None:
    exact = np.array([3.0, -7.0])
    assert model_tolerance(exact, exact) == 16 * 2.0**-24 * 7.0


def test_the_outer_bound_holds_whatever_the_peer_does() -> None:
    exact = np.array([1.0])
    assert model_tolerance(exact, exact + 1e-4) == pytest.approx(1.1e-4)
    with pytest.raises(ValueError, match="above its own bound"):
        model_tolerance(exact, exact + 2e-4)


def test_nan_is_never_close() -> None:
    exact, broken = np.array([1.0, 2.0]), np.array([1.0, np.nan])
    assert not max_error(exact, broken) <= 1e9
    with pytest.raises(ValueError, match="the peer errs by nan"):
        model_tolerance(exact, broken)
