"""Depth blocks: even, within bounds, and covering the depth."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.planner.cost import DENSITY_LOW, L1_DEPTH, choose_k_block
from colonnade.planner.lower.sparse import order_by_blocks


@pytest.mark.parametrize("depth", [1, 2, 127, 128, 129, 255, 256, 300, 768, 4608])
@pytest.mark.parametrize("density", [0.01, DENSITY_LOW, 0.1, 0.5])
@pytest.mark.parametrize("depth_max", [1, 14, 256])
def test_blocks_are_even(depth: int, density: float, depth_max: int) -> None:
    block = choose_k_block(depth, density, depth_max)
    count = -(-depth // block)
    assert 1 <= block <= min(depth, depth_max)
    assert block == -(-depth // count)  # no smaller block gives as few


def test_fewer_nonzeros_want_longer_blocks() -> None:
    assert choose_k_block(4 * L1_DEPTH, 0.1, 1024) == L1_DEPTH
    assert choose_k_block(4 * L1_DEPTH, 0.05, 1024) == 2 * L1_DEPTH


def test_taps_count() -> None:
    assert choose_k_block(64, 0.1, 28, rows_each=9) * 9 <= L1_DEPTH


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_order_by_blocks(block: int) -> None:
    weights = np.arange(2 * 7 * 2 * 3, dtype=np.float32).reshape(2, 7, 2, 3)
    expected = [
        [
            weights[out, c, i, j]
            for first in range(0, 7, block)
            for i in range(2)
            for j in range(3)
            for c in range(first, min(first + block, 7))
        ]
        for out in range(2)
    ]
    np.testing.assert_array_equal(order_by_blocks(weights, block), expected)
