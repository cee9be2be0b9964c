"""OBC (ExactOBS): in each row the cheapest weight goes, the others make good, and so on.

E. Frantar, S. P. Singh, D. Alistarh, "Optimal Brain Compression", 2022. A first pass removes more
than is wanted and notes the price of each removal; then rows share the sparsity by price; a last
pass solves least squares for the mask exactly.
"""

from __future__ import annotations

import numpy as np

from colonnade.sparsity.masks import keep_highest, make_mask
from colonnade.sparsity.patterns import NM, Block, Pattern, Unstructured, Vector
from colonnade.sparsity.solvers.damping import DAMPING, damped
from colonnade.sparsity.solvers.elimination import Elimination, Trace, eliminate
from colonnade.sparsity.solvers.least_squares import fit

BEYOND = 0.5
"""How far the first pass goes from the wanted sparsity towards 1, so that rows can differ."""


def obc(
    weights: np.ndarray,
    hessian: np.ndarray,
    pattern: Pattern,
    sparsity: float,
    *,
    taps: int = 1,
    damping: float = DAMPING,
    effort: Elimination | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Prune [rows, cols]; both must be multiples of the pattern's blocks or groups."""
    safe = damped(hessian, damping)
    wide = weights.astype(np.float64)
    effort = effort or Elimination()
    match pattern:
        case Vector("filter"):
            mask = make_mask((wide @ hessian) * wide, pattern, sparsity)
            return np.where(mask, wide, 0.0), mask  # nothing is left in a row to make good
        case Vector():
            mask = _channel_mask(wide, safe, taps, sparsity, effort)
            return fit(wide, safe, mask, height=len(wide)), mask
        case NM(n, m):
            trace = eliminate(
                wide, np.linalg.inv(safe), (1, 1), wide.shape[1] // m * (m - n), effort, m
            )
            mask, height = ~_removed(trace, np.full(len(wide), trace.count), wide.shape, (1, 1)), 1
        case Block(height, width):
            mask = _mask(wide, safe, (height, width), sparsity, effort)
        case Unstructured():
            mask, height = _mask(wide, safe, (1, 1), sparsity, effort), 1
    return fit(wide, safe, mask, height=height), mask


def _mask(
    weights: np.ndarray,
    hessian: np.ndarray,
    unit: tuple[int, int],
    sparsity: float,
    effort: Elimination,
) -> np.ndarray:
    bands, units = weights.shape[0] // unit[0], weights.shape[1] // unit[1]
    wanted = round(sparsity * bands * units)
    share = sparsity if bands == 1 else sparsity + BEYOND * (1 - sparsity)
    count = min(max(round(share * units), -(-wanted // bands)), units)
    trace = eliminate(weights, np.linalg.inv(hessian), unit, count, effort)
    return ~_removed(trace, _share_out(trace.prices, wanted), weights.shape, unit)


def _share_out(prices: np.ndarray, wanted: int) -> np.ndarray:
    """How many units each band gives up: the cheapest of all, each band's in their order."""
    rising = np.maximum.accumulate(prices, axis=1)
    dropped = ~keep_highest(rising.T.ravel(), rising.size - wanted).reshape(rising.T.shape)
    return np.asarray(dropped.sum(0))


def _removed(
    trace: Trace, counts: np.ndarray, shape: tuple[int, ...], unit: tuple[int, int]
) -> np.ndarray:
    """The weights that go when each band gives up the first of its order."""
    bands, units = shape[0] // unit[0], shape[1] // unit[1]
    removed = np.zeros((bands, units), bool)
    for band, count in enumerate(counts):
        removed[band, trace.order[band, :count]] = True
    return np.repeat(np.repeat(removed, unit[0], 0), unit[1], 1)


def _channel_mask(
    weights: np.ndarray, hessian: np.ndarray, taps: int, sparsity: float, effort: Elimination
) -> np.ndarray:
    """Columns are put in the order of channels, so that a channel is one block as high as W."""
    cols = weights.shape[1]
    by_channel = np.arange(cols).reshape(taps, -1).T.ravel()
    ordered, inner = weights[:, by_channel], hessian[np.ix_(by_channel, by_channel)]
    mask = np.empty(weights.shape, bool)
    mask[:, by_channel] = _mask(ordered, inner, (len(weights), taps), sparsity, effort)
    return mask
