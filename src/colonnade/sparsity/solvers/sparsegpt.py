"""SparseGPT: one sweep over the columns; what a column loses, those to its right make good.

E. Frantar, D. Alistarh, "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot",
2023. With a grid, the same sweep rounds what stays: that is GPTQ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from colonnade.sparsity.masks import make_mask
from colonnade.sparsity.patterns import NM, Block, Pattern, Unstructured, Vector
from colonnade.sparsity.solvers.damping import DAMPING, damped
from colonnade.sparsity.solvers.grid import Grid

PANEL_COLS = 128
"""Columns whose mask is chosen at once, from weights that have made good what went before."""

Chooser = Callable[[np.ndarray, np.ndarray, slice], np.ndarray]
"""(weights of some columns, the factor there, which ones they are) to their mask."""


def sparsegpt(
    weights: np.ndarray,
    hessian: np.ndarray,
    pattern: Pattern,
    sparsity: float,
    *,
    taps: int = 1,
    grid: Grid | None = None,
    damping: float = DAMPING,
    panel_cols: int = PANEL_COLS,
) -> tuple[np.ndarray, np.ndarray]:
    """Prune [rows, cols]; `cols` must be a multiple of the pattern's groups. With a grid, what is
    zero stays zero."""
    factor = _inverse_factor(damped(hessian, damping))
    match pattern:
        case Vector():
            costs = _vector_costs(weights, hessian, factor, pattern)
            fixed = make_mask(costs, pattern, sparsity, taps=taps)
            return _sweep(weights, factor, _slices_of(fixed), panel_cols, panel_cols, grid)
        case NM(_, unit):
            panel_cols = max(panel_cols // unit, 1) * unit
            return _sweep(weights, factor, _by_column(pattern, 0.0), unit, panel_cols, grid)
        case Block(height, unit):
            panel_cols = max(panel_cols // unit, 1) * unit
            choose = _by_block(height, unit, sparsity)
        case Unstructured():
            choose = _by_column(pattern, sparsity)
    return _sweep(weights, factor, choose, panel_cols, panel_cols, grid)


def refit(
    weights: np.ndarray,
    hessian: np.ndarray,
    mask: np.ndarray,
    *,
    grid: Grid | None = None,
    damping: float = DAMPING,
) -> np.ndarray:
    """The sweep with a mask that is given; an all-true mask and a grid is plain GPTQ."""
    factor = _inverse_factor(damped(hessian, damping))
    return _sweep(weights, factor, _slices_of(mask), PANEL_COLS, PANEL_COLS, grid)[0]


def _sweep(
    weights: np.ndarray,
    factor: np.ndarray,
    choose: Chooser,
    unit: int,
    panel_cols: int,
    grid: Grid | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Columns from left to right; a mask is chosen at the start of every `unit` columns.

    An error moves to the right inside of a panel at once, and beyond it when the panel is done.
    """
    left = weights.astype(np.float64)
    mask = np.ones(left.shape, bool)
    # Only what is not zero may be rounded; the errors that come to the others go on to the right.
    is_live = np.ones(left.shape, bool) if grid is None else left != 0
    for first in range(0, left.shape[1], panel_cols):
        last = min(first + panel_cols, left.shape[1])
        errors = np.zeros((left.shape[0], last - first))
        for col in range(first, last):
            if (col - first) % unit == 0:
                part = slice(col, min(col + unit, last))
                live = is_live[:, part]
                mask[:, part] = live & choose(left[:, part] * live, factor[part, part], part)
            old = left[:, col].copy()
            new = np.where(mask[:, col], old, 0.0)
            left[:, col] = new if grid is None else grid.round(new)
            errors[:, col - first] = (old - left[:, col]) / factor[col, col]
            left[:, col + 1 : last] -= np.outer(errors[:, col - first], factor[col, col + 1 : last])
        left[:, last:] -= errors @ factor[first:last, last:]
    return left, mask


def _inverse_factor(hessian: np.ndarray) -> np.ndarray:
    """U, upper triangular, with U^T U the inverse: row i serves when columns before i are gone."""
    return np.asarray(np.linalg.cholesky(np.linalg.inv(hessian)).T)


def _by_column(pattern: Pattern, sparsity: float) -> Chooser:
    def choose(weights: np.ndarray, factor: np.ndarray, _: slice) -> np.ndarray:
        return make_mask(np.square(weights / factor.diagonal()), pattern, sparsity)

    return choose


def _by_block(height: int, width: int, sparsity: float) -> Chooser:
    """What a block's columns lose one after the other is w U^-1 of its part of the factor."""

    def choose(weights: np.ndarray, factor: np.ndarray, _: slice) -> np.ndarray:
        costs = np.empty_like(weights)
        for first in range(0, weights.shape[1], width):
            part = slice(first, first + width)
            lost = np.linalg.solve(factor[part, part].T, weights[:, part].T)
            costs[:, part] = np.square(lost.T)
        return make_mask(costs, Block(height, width), sparsity)

    return choose


def _slices_of(mask: np.ndarray) -> Chooser:
    return lambda _, __, part: mask[:, part]


def _vector_costs(
    weights: np.ndarray, hessian: np.ndarray, factor: np.ndarray, pattern: Vector
) -> np.ndarray:
    """A row alone loses w H w^T; a column alone w^2 over the diagonal of the inverse."""
    wide = weights.astype(np.float64)
    if pattern.kind == "filter":
        return np.asarray((wide @ hessian) * wide)
    return np.asarray(np.square(wide) / np.square(factor).sum(0))
