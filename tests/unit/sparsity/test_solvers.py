"""One-shot solvers against exhaustive search and exact least squares."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from colonnade.errors import InputError
from colonnade.sparsity import METHODS, Method, parse_pattern, solve, solve_many, sparsity_of
from colonnade.sparsity.solvers.damping import damped, error_of
from colonnade.sparsity.solvers.elimination import Elimination
from colonnade.sparsity.solvers.least_squares import fit
from colonnade.sparsity.solvers.obc import obc
from colonnade.sparsity.solvers.solve import Tuning

ROWS, COLS = 8, 24


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((ROWS, COLS))


@pytest.fixture(scope="module")
def hessian() -> np.ndarray:
    """Correlated inputs of different sizes."""
    rng = np.random.default_rng(4)
    mix = rng.standard_normal((COLS, COLS)) * rng.lognormal(sigma=1, size=COLS)
    x = mix @ rng.standard_normal((COLS, 300))
    return np.asarray(x @ x.T)


def error(made: np.ndarray, weights: np.ndarray, hessian: np.ndarray) -> float:
    return error_of(made - weights, hessian)


PATTERNS = ["unstructured", "2:4", "1:8", "1x4", "4x1", "channel"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_method_beats_magnitude_and_obc_all(
    weights: np.ndarray, hessian: np.ndarray, pattern: str
) -> None:
    shape = parse_pattern(pattern)
    found = {m: solve(m, weights, hessian, shape, 0.5) for m in METHODS}
    errors = {m: error(made.weights, weights, hessian) for m, made in found.items()}
    assert min(errors, key=errors.__getitem__) == "obc"
    # At 1:8 the last columns of a sweep have nobody left who makes good.
    assert errors["sparsegpt"] < errors["magnitude"] or pattern == "1:8"
    for made in found.values():
        assert (made.weights[~made.mask] == 0).all()
        assert made.weights.shape == made.mask.shape == weights.shape


def test_whole_outputs_go_by_what_they_contribute(weights: np.ndarray, hessian: np.ndarray) -> None:
    made = solve("obc", weights, hessian, parse_pattern("filter"), 0.5)
    energy = np.einsum("ij,jk,ik->i", weights, hessian, weights)
    assert set(np.flatnonzero(made.mask[:, 0])) == set(np.argsort(energy)[ROWS // 2 :])


@pytest.mark.parametrize("method", METHODS)
def test_the_share_of_zeros_is_what_was_asked_for(
    weights: np.ndarray, hessian: np.ndarray, method: Method
) -> None:
    for pattern, wanted, got in (("unstructured", 0.75, 0.75), ("1:8", 0.5, 0.875)):
        made = solve(method, weights, hessian, parse_pattern(pattern), wanted)
        assert sparsity_of(made.mask) == got


@pytest.mark.parametrize("method", METHODS)
def test_more_zeros_cost_more(weights: np.ndarray, hessian: np.ndarray, method: Method) -> None:
    shape = parse_pattern("unstructured")
    errors = [
        error(solve(method, weights, hessian, shape, s).weights, weights, hessian)
        for s in (0.0, 0.25, 0.5, 0.75)
    ]
    assert errors == sorted(errors)
    assert errors[0] == 0


def test_obc_finds_the_best_mask_of_a_tiny_row() -> None:
    """Greedy is not optimal, but on most rows it is, and it is never far off."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((8, 8)) @ rng.standard_normal((8, 40))
    hessian = damped(x @ x.T)
    rows = rng.standard_normal((12, 8))
    best = [_exhaustive(row, hessian, 4) for row in rows]
    greedy = []
    for row in rows:
        ((made, _),) = obc(row[None], hessian, parse_pattern("unstructured"), [0.5], damping=1e-9)
        greedy.append(error_of(made - row, hessian))
    ratios = np.array(greedy) / np.array(best)
    assert (ratios > 1 - 1e-6).all()
    assert (ratios < 1 + 1e-6).mean() >= 0.5
    assert ratios.max() < 4


def _exhaustive(row: np.ndarray, hessian: np.ndarray, num_kept: int) -> float:
    errors = []
    for kept in itertools.combinations(range(len(row)), num_kept):
        mask = np.zeros((1, len(row)), bool)
        mask[0, list(kept)] = True
        errors.append(error_of(fit(row[None], hessian, mask) - row, hessian))
    return min(errors)


def test_prices_add_up_to_the_error(weights: np.ndarray, hessian: np.ndarray) -> None:
    """What the elimination says that a removal costs is what least squares then shows."""
    from colonnade.sparsity.solvers.elimination import eliminate

    safe = damped(hessian)
    effort = Elimination(stride=3, candidates=5, dtype=np.float64)
    trace = eliminate(weights, np.linalg.inv(safe), (1, 1), 10, effort)
    mask = np.ones(weights.shape, bool)
    np.put_along_axis(mask, trace.order, False, axis=1)
    exact = error_of(fit(weights, safe, mask) - weights, safe)
    assert abs(trace.prices.sum() / exact - 1) < 1e-6


def test_several_sparsities_at_once_are_those_one_by_one(
    weights: np.ndarray, hessian: np.ndarray
) -> None:
    for pattern in ("unstructured", "1x4", "channel"):
        shape = parse_pattern(pattern)
        low, high = solve_many("obc", weights, hessian, shape, (0.25, 0.5))
        assert (low.mask == solve("obc", weights, hessian, shape, 0.25).mask).mean() > 0.9
        assert (high.mask == solve("obc", weights, hessian, shape, 0.5).mask).all()
        assert sparsity_of(low.mask) == 0.25
        assert low.mask[high.mask].all()


def test_the_greedy_order_is_that_of_exact_obs(weights: np.ndarray, hessian: np.ndarray) -> None:
    """Stride 1 against a direct implementation: re-invert after each removal."""
    from colonnade.sparsity.solvers.elimination import eliminate

    safe = damped(hessian)
    effort = Elimination(stride=1, candidates=1, dtype=np.float64)
    trace = eliminate(weights[:2], np.linalg.inv(safe), (1, 1), 12, effort)
    for row, order in zip(weights[:2], trace.order, strict=True):
        left, kept, expected = row.copy(), list(range(COLS)), []
        for _ in range(12):
            inverse = np.linalg.inv(safe[np.ix_(kept, kept)])
            at = int(np.argmin(left[kept] ** 2 / inverse.diagonal()))
            left[kept] -= left[kept[at]] / inverse[at, at] * inverse[:, at]
            expected.append(kept.pop(at))
            left[expected[-1]] = 0
        assert order.tolist() == expected


def test_least_squares_is_exact(weights: np.ndarray, hessian: np.ndarray) -> None:
    """Either way of solving gives what numpy's lstsq on the square root gives."""
    safe = damped(hessian)
    root = np.linalg.cholesky(safe).T
    for num_kept in (5, 20):
        mask = np.zeros(weights.shape, bool)
        mask[:, :num_kept] = True
        made = fit(weights, safe, mask)
        exact = np.linalg.lstsq(root[:, :num_kept], root @ weights.T, rcond=None)[0].T
        assert np.allclose(made[:, :num_kept], exact)


def test_inputs_that_are_always_zero_lose_their_weights(
    weights: np.ndarray, hessian: np.ndarray
) -> None:
    dead = hessian.copy()
    dead[:4], dead[:, :4] = 0, 0
    for method in ("wanda", "sparsegpt", "obc"):
        made = solve(method, weights, dead, parse_pattern("unstructured"), 0.25)  # type: ignore[arg-type]
        assert np.isfinite(made.weights).all()
    assert not solve("wanda", weights, dead, parse_pattern("unstructured"), 0.25).mask[:, :4].any()


def test_rounding_keeps_zeros_and_beats_plain_rounding(
    weights: np.ndarray, hessian: np.ndarray
) -> None:
    shape = parse_pattern("unstructured")
    made = solve("sparsegpt", weights, hessian, shape, 0.0, Tuning(bits=3))
    plain = solve("magnitude", weights, hessian, shape, 0.0, Tuning(bits=3))
    assert error(made.weights, weights, hessian) < error(plain.weights, weights, hessian)
    steps = made.weights / (np.abs(weights).max(1, keepdims=True) / 3)
    assert np.allclose(steps, np.rint(steps))
    for method in ("sparsegpt", "obc"):
        both = solve(method, weights, hessian, shape, 0.5, Tuning(bits=4))  # type: ignore[arg-type]
        assert sparsity_of(both.weights != 0) >= 0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "pattern", ["unstructured", "2:4", "1:8", "1x4", "4x1", "channel", "filter"]
)
@pytest.mark.parametrize("sparsity", [0.0, 0.25])
def test_what_is_zero_stays_zero_when_the_rest_is_rounded(
    weights: np.ndarray, hessian: np.ndarray, method: Method, pattern: str, sparsity: float
) -> None:
    is_kept = np.random.default_rng(6).random(weights.shape) < 0.3
    sparse = np.where(is_kept, weights, 0.0)
    shape = parse_pattern(pattern)
    made = solve(method, sparse, hessian, shape, sparsity, Tuning(bits=8))
    assert not made.weights[~is_kept].any()
    assert not made.mask[~is_kept].any()
    assert not made.weights[~made.mask].any()


@pytest.mark.parametrize("method", ["sparsegpt", "obc"])
def test_what_zeros_cannot_take_up_the_others_do(
    weights: np.ndarray, hessian: np.ndarray, method: Method
) -> None:
    sparse = np.where(np.random.default_rng(6).random(weights.shape) < 0.5, weights, 0.0)
    shape = parse_pattern("unstructured")
    made = solve(method, sparse, hessian, shape, 0.0, Tuning(bits=4))
    plain = solve("magnitude", sparse, hessian, shape, 0.0, Tuning(bits=4))
    assert error(made.weights, sparse, hessian) < error(plain.weights, sparse, hessian)


def test_what_cannot_be_solved_is_refused(weights: np.ndarray) -> None:
    shape = parse_pattern("unstructured")
    with pytest.raises(InputError, match="calibration data"):
        solve("wanda", weights, None, shape, 0.5)
    with pytest.raises(InputError, match="sparsity=nan"):
        solve("magnitude", weights, None, shape, float("nan"))
    with pytest.raises(InputError, match="method='obs'"):
        solve("obs", weights, None, shape, 0.5)  # type: ignore[arg-type]
