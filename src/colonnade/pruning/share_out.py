"""The sparsity of each layer, by the rule that the user chose."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from colonnade.pruning.layers import Layer
from colonnade.pruning.statistics import Statistics
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


def share_out(
    allocation: Allocation,
    sparsity: float,
    pattern: Pattern,
    layers: Mapping[str, tuple[Layer, np.ndarray]],
    statistics: Mapping[str, Statistics],
) -> dict[str, float]:
    """By layer name; `layers` with their matrices, `statistics` for rules that need them."""
    sizes = {name: _size(layer) for name, (layer, _) in layers.items()}
    match allocation:
        case "uniform":
            return allocate_uniform(sizes, sparsity)
        case "erk":
            return allocate_erk(sizes, sparsity)
        case "owl":
            outliers = {
                name: outlier_share(_costs(matrices, statistics[name]))
                for name, (_, matrices) in layers.items()
            }
            return allocate_owl(sizes, sparsity, outliers)
        case "global":
            costs = {
                name: _relative(matrices, statistics[name])
                for name, (_, matrices) in layers.items()
            }
            return allocate_global(sizes, sparsity, costs)
        case "sensitivity":
            curves = {
                name: _curve(layer, matrices, statistics[name], pattern)
                for name, (layer, matrices) in layers.items()
            }
            return allocate_by_sensitivity(sizes, sparsity, curves)


def _size(layer: Layer) -> LayerSize:
    kernel = layer.shape[2:] if layer.op == "Conv" else ()
    return LayerSize(layer.groups * layer.rows, layer.inputs, kernel)


def _costs(matrices: np.ndarray, found: Statistics) -> np.ndarray:
    squares = found.products.diagonal(axis1=1, axis2=2)
    return np.stack([wanda_costs(w, s) for w, s in zip(matrices, squares, strict=True)])


def _relative(matrices: np.ndarray, found: Statistics) -> np.ndarray:
    """What each weight alone adds to the error, over the square of the layer's output."""
    return _costs(matrices, found) / max(_energy(matrices, found), np.finfo(np.float64).tiny)


def _energy(matrices: np.ndarray, found: Statistics) -> float:
    return sum(error_of(w, h) for w, h in zip(matrices, found.products, strict=True))


def _curve(
    layer: Layer, matrices: np.ndarray, found: Statistics, pattern: Pattern
) -> list[tuple[float, float]]:
    """By SparseGPT, which is quick and orders layers as OBC does."""
    method: Method = "sparsegpt"
    energy = max(_energy(matrices, found), np.finfo(np.float64).tiny)
    points = [(0.0, 0.0)]
    for sparsity in CURVE:
        error = 0.0
        for weights, hessian in zip(matrices, found.products, strict=True):
            made = solve(method, weights, hessian, pattern, sparsity, Tuning(taps=layer.taps))
            error += error_of(made.weights - weights, hessian)
        points.append((sparsity, max(points[-1][1], error / energy)))
    return points
