"""Masks from costs: what is kept when a share of a matrix goes.

A cost is what the removal of one weight is estimated to add to the squared error, so that costs of
a block add up. True stays. Of equal costs, the lowest index stays.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from colonnade.errors import InputError
from colonnade.sparsity.patterns import NM, Block, Pattern, Unstructured, Vector

Scope = Literal["matrix", "row"]
"""What competes: all units of the matrix, or those of a row (of a band of rows, for blocks)."""


def make_mask(
    costs: np.ndarray, pattern: Pattern, sparsity: float, *, scope: Scope = "matrix", taps: int = 1
) -> np.ndarray:
    """The mask [rows, cols] that drops round(sparsity * units) units, and never the last of them;
    N:M fixes its own number.

    `taps` (kh * kw of a convolution) tells which columns make a channel.
    """
    check_sparsity(sparsity)
    rows, cols = costs.shape
    match pattern:
        case Unstructured():
            return _keep(costs, sparsity, scope)
        case NM(n, m):
            return _keep_nm(costs, n, m)
        case Block(height, width):
            kept = _keep(block_sums(costs, height, width), sparsity, scope)
            return np.repeat(np.repeat(kept, height, 0), width, 1)[:rows, :cols]
        case Vector("filter"):
            kept = _keep(costs.sum(1)[None], sparsity, "matrix")
            return np.repeat(kept.reshape(-1, 1), cols, 1)
        case Vector():
            sums = costs.reshape(rows, taps, cols // taps).sum((0, 1))
            kept = np.tile(_keep(sums[None], sparsity, "matrix"), taps)
            return np.repeat(kept, rows, 0)


def block_sums(costs: np.ndarray, height: int, width: int) -> np.ndarray:
    """Sums over blocks; edges are padded with zeros."""
    rows, cols = costs.shape
    padded = np.pad(costs, ((0, -rows % height), (0, -cols % width)))
    grid = padded.reshape(padded.shape[0] // height, height, padded.shape[1] // width, width)
    return np.asarray(grid.sum((1, 3)))


def keep_highest(costs: np.ndarray, num_kept: int) -> np.ndarray:
    """A mask of the `num_kept` highest of 1-D costs; of equal ones the first stay."""
    num_dropped = costs.size - num_kept
    if num_dropped <= 0:
        return np.ones(costs.size, bool)
    threshold = np.partition(costs, num_dropped - 1)[num_dropped - 1]
    above, equal = costs > threshold, costs == threshold
    return np.asarray(above | (equal & (np.cumsum(equal) <= num_kept - above.sum())))


def count_kept(num_units: int, sparsity: float) -> int:
    """How many of the units that compete stay: a layer without any would be no layer."""
    return max(num_units - round(sparsity * num_units), min(num_units, 1))


def count_units(
    pattern: Pattern, rows: int, cols: int, *, scope: Scope = "matrix", taps: int = 1
) -> int:
    """How many units compete with each other in a matrix."""
    match pattern:
        case Unstructured():
            return cols if scope == "row" else rows * cols
        case NM(_, m):
            return m
        case Block(height, width):
            across = -(-cols // width)
            return across if scope == "row" else -(-rows // height) * across
        case Vector("filter"):
            return rows
        case Vector():
            return cols // taps


def check_sparsity(sparsity: float) -> None:
    """Refuse what is not a share below 1: NaN, negative numbers, 1 itself."""
    if not 0.0 <= sparsity < 1.0:
        raise InputError(
            f"sparsity={sparsity}: expected the share of weights to drop, from 0 up to but without "
            "1, as 0.7"
        )


def sparsity_of(mask: np.ndarray) -> float:
    """The share that a mask drops."""
    return 1.0 - float(np.count_nonzero(mask)) / mask.size if mask.size else 0.0


def _keep(costs: np.ndarray, sparsity: float, scope: Scope) -> np.ndarray:
    if scope == "matrix":
        return keep_highest(costs.ravel(), count_kept(costs.size, sparsity)).reshape(costs.shape)
    count = count_kept(costs.shape[1], sparsity)
    return np.stack([keep_highest(row, count) for row in costs])


def _keep_nm(costs: np.ndarray, n: int, m: int) -> np.ndarray:
    rows, cols = costs.shape
    groups = np.pad(costs, ((0, 0), (0, -cols % m)), constant_values=-np.inf).reshape(-1, m)
    best = np.argsort(-groups, axis=1, kind="stable")[:, :n]
    kept = np.zeros(groups.shape, bool)
    np.put_along_axis(kept, best, True, axis=1)
    return kept.reshape(rows, -1)[:, :cols]
