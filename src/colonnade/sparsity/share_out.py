"""The sparsity of each layer, by the rule that the user chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from colonnade.sparsity.allocation import (
    Allocation,
    LayerSize,
    allocate_by_sensitivity,
    allocate_erk,
    allocate_global,
    allocate_owl,
    allocate_uniform,
    outlier_share,
)
from colonnade.sparsity.patterns import Pattern
from colonnade.sparsity.solvers.damping import error_of
from colonnade.sparsity.solvers.solve import Method, Tuning, solve
from colonnade.sparsity.solvers.wanda import wanda_costs

CURVE = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Sparsities at which a layer's sensitivity is measured."""
NEEDS_STATISTICS: tuple[Allocation, ...] = ("owl", "global", "sensitivity")


@dataclass(frozen=True)
class Weighed:
    """A layer as the rules see it."""

    size: LayerSize
    matrices: np.ndarray
    """Its weights, [groups, rows, cols]."""
    products: np.ndarray | None = None
    """Sums of x x^T, [groups, cols, cols], for the rules of NEEDS_STATISTICS."""
    taps: int = 1
    """kh * kw of a convolution."""


def share_out(
    allocation: Allocation, sparsity: float, pattern: Pattern, layers: Mapping[str, Weighed]
) -> dict[str, float]:
    """By name."""
    sizes = {name: layer.size for name, layer in layers.items()}
    match allocation:
        case "uniform":
            return allocate_uniform(sizes, sparsity)
        case "erk":
            return allocate_erk(sizes, sparsity)
        case "owl":
            outliers = {name: outlier_share(_costs(layer)) for name, layer in layers.items()}
            return allocate_owl(sizes, sparsity, outliers)
        case "global":
            costs = {name: _relative(layer) for name, layer in layers.items()}
            return allocate_global(sizes, sparsity, costs)
        case "sensitivity":
            curves = {name: _curve(layer, pattern) for name, layer in layers.items()}
            return allocate_by_sensitivity(sizes, sparsity, curves)


def _products(layer: Weighed) -> np.ndarray:
    assert layer.products is not None
    return layer.products


def _costs(layer: Weighed) -> np.ndarray:
    squares = _products(layer).diagonal(axis1=1, axis2=2)
    return np.stack([wanda_costs(w, s) for w, s in zip(layer.matrices, squares, strict=True)])


def _relative(layer: Weighed) -> np.ndarray:
    """What each weight alone adds to the error, over the square of the layer's output."""
    return _costs(layer) / _energy(layer)


def _energy(layer: Weighed) -> float:
    pairs = zip(layer.matrices, _products(layer), strict=True)
    return max(sum(error_of(w, h) for w, h in pairs), float(np.finfo(np.float64).tiny))


def _curve(layer: Weighed, pattern: Pattern) -> list[tuple[float, float]]:
    """By SparseGPT, which is quick and orders layers as OBC does."""
    method: Method = "sparsegpt"
    energy = _energy(layer)
    points = [(0.0, 0.0)]
    for sparsity in CURVE:
        error = 0.0
        for weights, hessian in zip(layer.matrices, _products(layer), strict=True):
            made = solve(method, weights, hessian, pattern, sparsity, Tuning(taps=layer.taps))
            error += error_of(made.weights - weights, hessian)
        points.append((sparsity, max(points[-1][1], error / energy)))
    return points
