"""The structure of a weight matrix's zeros, found in its mask."""

from __future__ import annotations

import numpy as np

BLOCK = 4
"""Weights of a block, and of a group of N:M."""
FILLED_MIN = 0.8
"""Nonzeros that groups of N:M have on average, as a share of N."""


def find_structure(weights: np.ndarray) -> str:
    """Names the zeros of W[M, K]: rows are output features, columns input features.

    "4x1 blocks": four consecutive rows share their columns; "1x4 blocks": zeros come in fours along
    K; "1:4" and "2:4": at most so many nonzeros in four along K; else "unstructured" or "dense".
    """
    mask = weights != 0
    if mask.all():
        return "dense"
    rows, columns = mask.shape
    if rows % BLOCK == 0 and _is_whole(mask.reshape(rows // BLOCK, BLOCK, columns), 1):
        return f"{BLOCK}x1 blocks"
    if columns % BLOCK:
        return "unstructured"
    groups = mask.reshape(rows, columns // BLOCK, BLOCK)
    if _is_whole(groups, 2):
        return f"1x{BLOCK} blocks"
    counts = groups.sum(axis=2, dtype=np.int8)
    most = int(counts.max())
    # Few nonzeros in all keep within any pattern: most groups must have as many as they may.
    is_pattern = most <= BLOCK // 2 and counts.mean() > FILLED_MIN * most
    return f"{most}:{BLOCK}" if is_pattern else "unstructured"


def _is_whole(groups: np.ndarray, axis: int) -> bool:
    """True when every group along `axis` is all zero or all nonzero."""
    return bool((groups.any(axis=axis) == groups.all(axis=axis)).all())
