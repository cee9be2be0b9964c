"""OBC (ExactOBS): in each row the cheapest weight goes, the others make good, and so on.

E. Frantar, S. P. Singh, D. Alistarh, "Optimal Brain Compression", 2022. A first pass removes more
than is wanted and notes the price of each removal; then rows share the sparsity by price; a last
pass solves least squares for the mask exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from colonnade.sparsity.masks import count_kept, keep_highest, make_mask
from colonnade.sparsity.patterns import NM, Block, Pattern, Unstructured, Vector
from colonnade.sparsity.solvers.damping import DAMPING, damped
from colonnade.sparsity.solvers.elimination import Elimination, Trace, eliminate
from colonnade.sparsity.solvers.least_squares import fit

BEYOND = 0.25
"""How far the first pass goes from the wanted sparsity towards 1, so that rows can differ."""
DEFAULT_EFFORT = Elimination()


def obc(
    weights: np.ndarray,
    hessian: np.ndarray,
    pattern: Pattern,
    sparsities: Sequence[float],
    *,
    taps: int = 1,
    damping: float = DAMPING,
    keeps_zeros: bool = False,
    effort: Elimination = DEFAULT_EFFORT,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Prune [rows, cols], both multiples of the pattern's blocks or groups, to each sparsity.

    One first pass serves all of them: removals for a lower sparsity begin those for a higher one.
    With `keeps_zeros`, weights that are zero take nothing up from the others.
    """
    safe = damped(hessian, damping)
    wide = weights.astype(np.float64)
    height = 1
    match pattern:
        case Vector("filter"):
            masks = [make_mask((wide @ hessian) * wide, pattern, s) for s in sparsities]
            masks = [mask & (wide != 0) for mask in masks] if keeps_zeros else masks
            return [(np.where(mask, wide, 0.0), mask) for mask in masks]  # no row is left to repair
        case Vector():
            height = len(wide)
            masks = _channel_masks(wide, safe, taps, sparsities, effort)
        case NM(n, m):
            count = wide.shape[1] // m * (m - n)
            trace = eliminate(wide, np.linalg.inv(safe), (1, 1), count, effort, m)
            masks = [~_removed(trace, np.full(len(wide), count), wide.shape, (1, 1))]
            masks *= len(sparsities)
        case Block(height, width):
            masks = _masks(wide, safe, (height, width), sparsities, effort)
        case Unstructured():
            masks = _masks(wide, safe, (1, 1), sparsities, effort)
    if keeps_zeros:
        masks, height = [mask & (wide != 0) for mask in masks], 1
    return [(fit(wide, safe, mask, height=height), mask) for mask in masks]


def _masks(
    weights: np.ndarray,
    hessian: np.ndarray,
    unit: tuple[int, int],
    sparsities: Sequence[float],
    effort: Elimination,
) -> list[np.ndarray]:
    bands, units = weights.shape[0] // unit[0], weights.shape[1] // unit[1]
    wanted = [bands * units - count_kept(bands * units, sparsity) for sparsity in sparsities]
    most = max(sparsities)
    share = most if bands == 1 else most + BEYOND * (1 - most)
    count = min(max(round(share * units), -(-max(wanted) // bands)), units)
    trace = eliminate(weights, np.linalg.inv(hessian), unit, count, effort)
    return [
        ~_removed(trace, _share_out(trace.prices, each), weights.shape, unit) for each in wanted
    ]


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


def _channel_masks(
    weights: np.ndarray,
    hessian: np.ndarray,
    taps: int,
    sparsities: Sequence[float],
    effort: Elimination,
) -> list[np.ndarray]:
    """Columns are put in the order of channels, so that a channel is one block as high as W."""
    by_channel = np.arange(weights.shape[1]).reshape(taps, -1).T.ravel()
    ordered, inner = weights[:, by_channel], hessian[np.ix_(by_channel, by_channel)]
    back = np.argsort(by_channel)
    found = _masks(ordered, inner, (len(weights), taps), sparsities, effort)
    return [mask[:, back] for mask in found]
