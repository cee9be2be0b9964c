"""The structure of zeros, found in the mask."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.planner.structure import find_structure


def _mask(kind: str, rows: int = 16, columns: int = 24) -> np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "4x1 blocks":
        return np.repeat(rng.random((rows // 4, columns)) < 0.3, 4, axis=0)
    if kind == "1x4 blocks":
        return np.repeat(rng.random((rows, columns // 4)) < 0.3, 4, axis=1)
    if kind in ("1:4", "2:4"):
        kept = int(kind[0])
        order = rng.random((rows, columns // 4, 4)).argsort(axis=2)
        return (order < kept).reshape(rows, columns)
    return rng.random((rows, columns)) < 0.5


@pytest.mark.parametrize("kind", ["4x1 blocks", "1x4 blocks", "1:4", "2:4", "unstructured"])
def test_structures_are_told_apart(kind: str) -> None:
    assert find_structure(_mask(kind).astype(np.float32)) == kind


def test_one_weight_more_breaks_a_structure() -> None:
    for kind in ("4x1 blocks", "1:4", "2:4"):
        mask = _mask(kind)
        row, group = 5, int(np.flatnonzero(~mask[5].reshape(-1, 4).all(axis=1))[0])
        mask[row, 4 * group : 4 * group + 4] = True
        assert find_structure(mask.astype(np.float32)) == "unstructured"


def test_no_zeros_are_dense_and_odd_sizes_have_no_groups() -> None:
    assert find_structure(np.ones((4, 4), np.float32)) == "dense"
    assert find_structure(np.eye(7, dtype=np.float32)) == "unstructured"


def test_few_nonzeros_are_no_pattern() -> None:
    weights = np.zeros((16, 24), np.float32)
    weights[3, ::8] = 1
    assert find_structure(weights) == "unstructured"
