"""solve(): one layer, pruned by a method; the table of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from colonnade.errors import InputError
from colonnade.sparsity.masks import check_sparsity, make_mask
from colonnade.sparsity.patterns import NM, Block, Pattern, Unstructured, Vector
from colonnade.sparsity.solvers.damping import DAMPING
from colonnade.sparsity.solvers.grid import symmetric_grid
from colonnade.sparsity.solvers.magnitude import magnitude_costs
from colonnade.sparsity.solvers.obc import obc
from colonnade.sparsity.solvers.sparsegpt import refit, sparsegpt
from colonnade.sparsity.solvers.wanda import wanda_costs

Method = Literal["magnitude", "wanda", "sparsegpt", "obc"]
METHODS: tuple[Method, ...] = get_args(Method)

NEEDS: Mapping[Method, Literal["nothing", "norms", "hessian"]] = {
    "magnitude": "nothing", "wanda": "norms", "sparsegpt": "hessian", "obc": "hessian",
}  # fmt: skip
"""What a method wants to know of a layer's inputs."""


class Pruned(NamedTuple):
    """A layer's new weights, float64, and its mask: True stays."""

    weights: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Tuning:
    """What methods can be told besides; the defaults are those of the papers."""

    damping: float = DAMPING
    bits: int | None = None
    """Round what stays to this many bits in the same sweep (sparsegpt) or after it (obc); what is
    zero stays zero."""
    taps: int = 1
    """kh * kw of a convolution."""


DEFAULT_TUNING = Tuning()


def solve(
    method: Method,
    weights: np.ndarray,
    hessian: np.ndarray | None,
    pattern: Pattern,
    sparsity: float,
    tuning: Tuning = DEFAULT_TUNING,
) -> Pruned:
    """Prune [rows, cols] to `sparsity`; N:M fixes its own.

    `hessian`: sums of x x^T, [cols, cols]; for "wanda" their diagonal alone, [cols], is enough, and
    "magnitude" does without. Raises InputError for a sparsity that is none.
    """
    return solve_many(method, weights, hessian, pattern, (sparsity,), tuning)[0]


def solve_many(
    method: Method,
    weights: np.ndarray,
    hessian: np.ndarray | None,
    pattern: Pattern,
    sparsities: Sequence[float],
    tuning: Tuning = DEFAULT_TUNING,
) -> list[Pruned]:
    """`solve` for each sparsity; with "obc" they take hardly longer than the highest alone."""
    for sparsity in sparsities:
        check_sparsity(sparsity)
    if method not in METHODS:
        raise InputError(f"method={method!r}; it is one of {', '.join(METHODS)}")
    if method == "magnitude":
        costs = magnitude_costs(weights)
        return [_drop(weights, costs, pattern, s, "matrix", tuning) for s in sparsities]
    if hessian is None:
        raise InputError(f"method={method!r} needs the inputs of the layer: give calibration data")
    if method == "wanda":
        squares = hessian if hessian.ndim == 1 else hessian.diagonal()
        costs = wanda_costs(weights, squares)
        return [_drop(weights, costs, pattern, s, "row", tuning) for s in sparsities]
    padded, wide = _pad(weights, hessian, pattern)
    solver = _sparsegpt if method == "sparsegpt" else _obc
    rows, cols = weights.shape
    return [
        Pruned(made[:rows, :cols], mask[:rows, :cols])
        for made, mask in solver(padded, wide, pattern, sparsities, tuning)
    ]


def _sparsegpt(
    weights: np.ndarray,
    hessian: np.ndarray,
    pattern: Pattern,
    sparsities: Sequence[float],
    tuning: Tuning,
) -> list[tuple[np.ndarray, np.ndarray]]:
    grid = None if tuning.bits is None else symmetric_grid(weights, tuning.bits)
    return [
        sparsegpt(
            weights, hessian, pattern, sparsity,
            taps=tuning.taps, grid=grid, damping=tuning.damping,
        )
        for sparsity in sparsities
    ]  # fmt: skip


def _obc(
    weights: np.ndarray,
    hessian: np.ndarray,
    pattern: Pattern,
    sparsities: Sequence[float],
    tuning: Tuning,
) -> list[tuple[np.ndarray, np.ndarray]]:
    found = obc(
        weights, hessian, pattern, sparsities,
        taps=tuning.taps, damping=tuning.damping, keeps_zeros=tuning.bits is not None,
    )  # fmt: skip
    if tuning.bits is None:
        return found
    grid = symmetric_grid(weights, tuning.bits)
    return [
        (refit(made, hessian, mask, grid=grid, damping=tuning.damping), mask)
        for made, mask in found
    ]


def _drop(
    weights: np.ndarray,
    costs: np.ndarray,
    pattern: Pattern,
    sparsity: float,
    scope: Literal["matrix", "row"],
    tuning: Tuning,
) -> Pruned:
    mask = make_mask(costs, pattern, sparsity, scope=scope, taps=tuning.taps)
    kept = np.where(mask, weights.astype(np.float64), 0.0)
    if tuning.bits is not None:
        mask &= weights != 0
        grid = symmetric_grid(weights, tuning.bits)
        kept = np.stack([grid.round(column) for column in kept.T], axis=1)
    return Pruned(kept, mask)


def _pad(
    weights: np.ndarray, hessian: np.ndarray, pattern: Pattern
) -> tuple[np.ndarray, np.ndarray]:
    """Whole groups: columns of zeros that no input reads, rows of zeros."""
    height, width = _unit(pattern)
    rows, cols = weights.shape
    below, right = -rows % height, -cols % width
    padded = np.pad(weights.astype(np.float64), ((0, below), (0, right)))
    return padded, np.pad(hessian.astype(np.float64), ((0, right), (0, right)))


def _unit(pattern: Pattern) -> tuple[int, int]:
    match pattern:
        case NM(_, m):
            return 1, m
        case Block(height, width):
            return height, width
        case Unstructured() | Vector():
            return 1, 1
