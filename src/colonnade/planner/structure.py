"""The structure of a weight matrix's zeros, found in its mask."""

from __future__ import annotations

import numpy as np

BLOCK = 4
"""Weights of a block, and of a group of N:M."""


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
    most = int(groups.sum(axis=2, dtype=np.int8).max())
    return f"{most}:{BLOCK}" if most <= BLOCK // 2 else "unstructured"


def _is_whole(groups: np.ndarray, axis: int) -> bool:
    """True when every group along `axis` is all zero or all nonzero."""
    return bool((groups.any(axis=axis) == groups.all(axis=axis)).all())
