"""impose_mask(): which weights of a matrix to keep at a level of sparsity, by magnitude.

W[M, K] has a row for each output feature and a column for each input feature (the taps of a
convolution are input features too). Structures:

    unstructured   single weights
    1x4            blocks of one row and 4 consecutive columns
    4x1            blocks of 4 consecutive rows and one column
    2:4, 1:4       that many kept of each 4 consecutive columns, in every row

Blocks and groups start at multiples of 4; those at the edge of an odd matrix are smaller.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from colonnade.errors import InputError

UNSTRUCTURED = "unstructured"
_BLOCKS = {"1x4": (1, 4), "4x1": (4, 1)}
_KEPT_OF_GROUP = {"2:4": (2, 4), "1:4": (1, 4)}
STRUCTURES = (UNSTRUCTURED, *_BLOCKS, *_KEPT_OF_GROUP)

Mask = NDArray[np.bool_]


def impose_mask(weights: np.ndarray, sparsity: float, structure: str = UNSTRUCTURED) -> Mask:
    """True where W[M, K] keeps its weight; the smallest magnitudes go, of equal ones the first.

    The share `sparsity` of the weights or blocks goes, rounded to a whole number of them (halves
    upwards); a block counts by its mean magnitude. In n:m each group keeps its n largest, a
    smaller one at the edge at most n. NaN counts as large. Raises InputError for a level outside
    [0, 1), an unknown structure, or a level that the structure does not have.

    >>> impose_mask(np.array([[3.0, -1.0, 2.0, 0.5]]), 0.5).astype(int)
    array([[1, 0, 1, 0]])
    """
    verify_level(sparsity, structure)
    # Of int8, -128 has no absolute value.
    magnitudes = np.abs(weights if weights.dtype.kind == "f" else weights.astype(np.float32))
    magnitudes = np.where(np.isnan(magnitudes), np.inf, magnitudes)
    if structure in _KEPT_OF_GROUP:
        return _keep_of_groups(magnitudes, *_KEPT_OF_GROUP[structure])
    if structure in _BLOCKS:
        return _keep_blocks(magnitudes, sparsity, *_BLOCKS[structure])
    return _keep_largest(magnitudes, sparsity)


def level_of(structure: str) -> float | None:
    """The one level that a structure has; None where it takes any."""
    if structure not in _KEPT_OF_GROUP:
        return None
    kept, size = _KEPT_OF_GROUP[structure]
    return 1.0 - kept / size


def verify_level(sparsity: float, structure: str) -> None:
    """Raise InputError unless the structure is known and can have this share of zeros."""
    if structure not in STRUCTURES:
        raise InputError(
            f"unknown structure {structure!r}; the structures are {', '.join(STRUCTURES)}"
        )
    if not 0.0 <= sparsity < 1.0:
        raise InputError(
            f"sparsity {sparsity:g} is not in [0, 1): it is the share of zeros, 0.9 for nine of ten"
        )
    own = level_of(structure)
    if own is not None and not math.isclose(sparsity, own):
        others = ", ".join(n for n in STRUCTURES if level_of(n) in (None, sparsity))
        raise InputError(
            f"structure {structure} has sparsity {own:g}, not {sparsity:g}: ask for {own:g}, or "
            f"for one of the structures that can have {sparsity:g}: {others}"
        )


def num_dropped(count: int, sparsity: float) -> int:
    """How many of `count` weights or blocks go."""
    return math.floor(sparsity * count + 0.5)


def _keep_largest(scores: np.ndarray, sparsity: float) -> Mask:
    flat = scores.reshape(-1)
    dropped = num_dropped(flat.size, sparsity)
    if dropped == 0:
        return np.ones(scores.shape, np.bool_)
    limit = np.partition(flat, dropped - 1)[dropped - 1]
    keep: Mask = flat > limit
    equal = np.flatnonzero(flat == limit)
    num_kept_equal = flat.size - dropped - int(keep.sum())
    keep[equal[len(equal) - num_kept_equal :]] = True
    return keep.reshape(scores.shape)


def _keep_blocks(magnitudes: np.ndarray, sparsity: float, height: int, width: int) -> Mask:
    rows, columns = magnitudes.shape
    sums = _sum_blocks(magnitudes.astype(np.float64), height, width)
    sizes = _sum_blocks(np.ones(magnitudes.shape), height, width)
    keep = _keep_largest(sums / sizes, sparsity)
    return keep.repeat(height, axis=0).repeat(width, axis=1)[:rows, :columns]


def _sum_blocks(values: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = values.shape
    padded = np.pad(values, ((0, -rows % height), (0, -columns % width)))
    parts = padded.reshape(padded.shape[0] // height, height, padded.shape[1] // width, width)
    summed: np.ndarray = parts.sum(axis=(1, 3))
    return summed


def _keep_of_groups(magnitudes: np.ndarray, kept: int, size: int) -> Mask:
    rows, columns = magnitudes.shape
    # What pads the last group is below every magnitude, so it goes first.
    padded = np.pad(magnitudes, ((0, 0), (0, -columns % size)), constant_values=-1)
    groups = padded.reshape(rows, -1, size)
    order = np.argsort(groups, axis=-1, kind="stable")
    keep = np.ones(groups.shape, np.bool_)
    np.put_along_axis(keep, order[..., : size - kept], False, axis=-1)
    return keep.reshape(padded.shape)[:, :columns]
