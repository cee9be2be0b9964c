"""Allocation: every rule meets the target, and favours whom it should."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.errors import InputError
from colonnade.sparsity.allocation import (
    LayerSize,
    allocate_by_sensitivity,
    allocate_erk,
    allocate_global,
    allocate_owl,
    allocate_uniform,
    balance,
    outlier_share,
)

LAYERS = {"small": LayerSize(8, 8), "conv": LayerSize(16, 8, (3, 3)), "large": LayerSize(64, 64)}


def mean(shares: dict[str, float]) -> float:
    sizes = [layer.size for layer in LAYERS.values()]
    return float(np.average(list(shares.values()), weights=sizes))


def test_uniform() -> None:
    assert allocate_uniform(LAYERS, 0.5) == dict.fromkeys(LAYERS, 0.5)


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_erk_spares_small_layers(sparsity: float) -> None:
    shares = allocate_erk(LAYERS, sparsity)
    assert mean(shares) == pytest.approx(sparsity, abs=1e-6)
    assert shares["small"] <= shares["large"] <= shares["conv"]
    assert min(shares.values()) >= 0


def test_owl_spares_layers_with_outliers() -> None:
    shares = allocate_owl(LAYERS, 0.6, {"small": 0.1, "conv": 0.0, "large": 0.05})
    assert mean(shares) == pytest.approx(0.6, abs=1e-6)
    assert shares["small"] < shares["large"] < shares["conv"]
    assert max(abs(share - 0.6) for share in shares.values()) == pytest.approx(0.08, abs=1e-6)
    assert outlier_share(np.array([1.0] * 99 + [10000.0])) == 0.01


@pytest.mark.parametrize("sparsity", [0.03, 0.7, 0.95])
@pytest.mark.parametrize("outlying", [1, 5, 9])
def test_owl_moves_no_layer_by_more_than_8_points(outlying: int, sparsity: float) -> None:
    layers = {str(i): LayerSize(10, 10) for i in range(10)}
    outliers = {str(i): 0.1 * (i < outlying) for i in range(10)}
    shares = allocate_owl(layers, sparsity, outliers)
    assert np.mean(list(shares.values())) == pytest.approx(sparsity, abs=1e-6)
    assert all(abs(share - sparsity) < 0.08 + 1e-6 for share in shares.values())
    if sparsity == 0.7:
        assert max(abs(share - 0.7) for share in shares.values()) == pytest.approx(0.08, abs=1e-6)


def test_owl_without_outliers_is_uniform() -> None:
    shares = allocate_owl(LAYERS, 0.6, dict.fromkeys(LAYERS, 0.02))
    assert list(shares.values()) == pytest.approx([0.6] * 3)


def test_global_takes_the_cheapest_wherever_they_are() -> None:
    costs = {name: np.full(layer.size, 1.0 + at) for at, (name, layer) in enumerate(LAYERS.items())}
    costs["large"] = np.linspace(0, 100, LAYERS["large"].size)
    shares = allocate_global(LAYERS, 0.5, costs)
    assert mean(shares) == pytest.approx(0.5, abs=1e-6)
    assert shares["small"] > shares["large"]
    assert allocate_global(LAYERS, 0.0, costs) == dict.fromkeys(LAYERS, 0.0)


def test_sensitive_layers_are_spared() -> None:
    curves = {
        "small": [(0.0, 0.0), (0.5, 0.1), (0.9, 0.5)],
        "conv": [(0.0, 0.0), (0.5, 5.0), (0.9, 9.0)],
        "large": [(0.0, 0.0), (0.5, 0.1), (0.9, 0.5)],
    }
    shares = allocate_by_sensitivity(LAYERS, 0.7, curves)
    assert mean(shares) == pytest.approx(0.7, abs=1e-6)
    assert shares["conv"] < 0.1 < shares["large"]


def test_shares_stay_below_1() -> None:
    shares = balance(LAYERS, np.array([0.0, 0.0, 5.0]), 0.98)
    assert mean(shares) == pytest.approx(0.98, abs=1e-6)
    assert max(shares.values()) <= 0.99
    with pytest.raises(InputError, match="at most"):
        balance(LAYERS, np.zeros(3), 0.995)
