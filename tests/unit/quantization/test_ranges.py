"""Scales of activations and weights: degenerate ones, tiny and huge ones, exact zeros."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.quantization.ranges import LEVELS, MIN_SCALE, choose_scale, make_range
from colonnade.quantization.weights import BIAS_MAX, WEIGHT_MAX, fits_float32, quantize_weights


@pytest.mark.parametrize(
    ("low", "high"),
    [(-1.0, 1.0), (0.0, 6.0), (-3.0, 0.0), (2.0, 5.0), (-5.0, -2.0), (-1e-3, 7e3)],
)
def test_a_range_fits_uint8_and_holds_zero_exactly(low: float, high: float) -> None:
    found = choose_scale(make_range(low, high))
    ends = np.array([min(low, 0.0), max(high, 0.0)])
    steps = np.rint(ends / float(found.scale)) + int(found.zero)
    # The zero point is rounded, so an end may lie half a step outside, and a rounding more.
    assert steps[0] >= -1
    assert steps[1] <= LEVELS + 1
    assert 0 <= int(found.zero) <= LEVELS


def test_a_tensor_of_zeros_gets_a_scale_that_is_not_zero() -> None:
    found = choose_scale(make_range(0.0, 0.0))
    assert (float(found.scale), int(found.zero)) == (1.0, 0)


def test_tiny_and_huge_ranges_give_finite_scales() -> None:
    tiny = choose_scale(make_range(0.0, 1e-45))
    assert float(tiny.scale) == pytest.approx(MIN_SCALE)
    assert np.isfinite(np.float32(1) / tiny.scale)
    most = float(np.finfo(np.float32).max)
    huge = choose_scale(make_range(-most, most))
    assert np.isfinite(huge.scale)
    assert 127 <= int(huge.zero) <= 128


def weights_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = rng.standard_normal(shape).astype(np.float32)
    made[rng.random(shape) < 0.5] = 0.0
    return made


@pytest.mark.parametrize(("shape", "axis"), [((6, 3, 2, 2), 0), ((5, 6), 1), ((6, 5), 0)])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_are_within_half_a_step_and_zeros_stay(
    shape: tuple[int, ...], axis: int, per_channel: bool
) -> None:
    weights = weights_of(shape)
    bias = np.linspace(-2, 2, 6, dtype=np.float32)
    made = quantize_weights(weights, axis, bias, 0.02, per_channel=per_channel)
    along = [1] * weights.ndim
    along[axis] = -1
    scale = made.scale.reshape(along if per_channel else ())
    assert made.scale.shape == ((6,) if per_channel else ())
    assert (made.weights[weights == 0] == 0).all()
    real = made.weights.astype(np.float64) * scale
    half = scale.astype(np.float64) / 2 * (1 + np.finfo(np.float32).eps * WEIGHT_MAX)
    assert (np.abs(real - weights) <= half).all()
    assert made.bias is not None
    error = np.abs(made.bias * made.bias_scale.astype(np.float64) - bias)
    assert (error <= made.bias_scale.astype(np.float64) / 2 * (1 + 1e-12)).all()


def test_a_channel_without_weights_keeps_its_bias() -> None:
    weights = weights_of((3, 4))
    weights[1] = 0.0
    bias = np.array([0.5, 1e6, 0.0], np.float32)
    made = quantize_weights(weights, 0, bias, 1e-3, per_channel=True)
    assert (made.scale > 0).all()
    assert made.bias is not None
    real = made.bias * made.bias_scale.astype(np.float64)
    np.testing.assert_allclose(real, bias, atol=float(made.bias_scale.max()), rtol=1 / BIAS_MAX * 4)


def test_a_channel_of_zeros_without_bias_gets_scale_one() -> None:
    made = quantize_weights(np.zeros((2, 3), np.float32), 0, None, 0.1, per_channel=True)
    np.testing.assert_array_equal(made.scale, 1.0)
    np.testing.assert_array_equal(made.weights, 0)


def test_the_scale_of_products_is_never_zero() -> None:
    made = quantize_weights(np.full((1, 2), 1e-30, np.float32), 0, None, 1e-30, per_channel=True)
    assert (made.bias_scale > 0).all()


def test_what_float32_cannot_multiply_is_known() -> None:
    huge = np.array([[1e30]], np.float32)
    assert not fits_float32(huge, 1e20)
    assert fits_float32(huge, 1.0)
