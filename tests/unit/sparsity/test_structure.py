"""Structures of zeros, each with a twin that is just not it."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.sparsity.structure import describe_zeros


def kept_of(n: int, m: int) -> np.ndarray:
    """16 x 64, n kept of each m along a row, in random places."""
    ranks = np.random.default_rng(1).random((16, 64 // m, m)).argsort(-1)
    return (ranks < n).reshape(16, 64) * 1.0


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (1, 8), (2, 8), (1, 16), (2, 16), (1, 32)])
def test_n_of_m(n: int, m: int) -> None:
    matrix = kept_of(n, m)
    assert describe_zeros(matrix).structure == f"{n}:{m}"
    matrix[3, : n + 1] = 1
    matrix[3, n + 1 : m] = 0
    assert describe_zeros(matrix).structure != f"{n}:{m}"


@pytest.mark.parametrize(("height", "width"), [(4, 1), (1, 4), (4, 4)])
def test_blocks(height: int, width: int) -> None:
    small = np.random.default_rng(2).random((64 // height, 64 // width)) < 0.3
    matrix = np.kron(small, np.ones((height, width)))
    assert describe_zeros(matrix).structure == f"block {height}x{width}"
    row, column = np.argwhere(matrix)[0]
    matrix[row, column] = 0
    assert describe_zeros(matrix).structure == "unstructured"


def test_dense_and_empty() -> None:
    assert describe_zeros(np.ones((4, 4))).structure == "dense"
    assert describe_zeros(np.zeros((4, 4))).sparsity == 1.0
    assert describe_zeros(np.zeros((0, 4))).structure == "dense"
