"""Masks by magnitude: exact counts, whole blocks, the order of equals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from colonnade.bench.impose import (
    STRUCTURES,
    UNSTRUCTURED,
    impose_mask,
    level_of,
    num_dropped,
)
from colonnade.errors import InputError

SIDES = st.integers(1, 19)
LEVELS = st.one_of(
    st.floats(0.0, 1.0, exclude_max=True), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])
)
# Small whole numbers, so that many magnitudes are equal.
MATRICES = arrays.arrays(np.float32, st.tuples(SIDES, SIDES), elements=st.integers(-4, 4))
BLOCKS = {"1x4": (1, 4), "4x1": (4, 1)}
GROUPS = {"2:4": 2, "1:4": 1}


@given(MATRICES, LEVELS)
def test_single_weights_go_by_magnitude_in_exact_number(
    weights: np.ndarray, sparsity: float
) -> None:
    mask = impose_mask(weights, sparsity)
    dropped = weights.size - int(mask.sum())
    assert dropped == num_dropped(weights.size, sparsity)
    assert abs(dropped - sparsity * weights.size) <= 0.5 + 1e-9
    if 0 < dropped < weights.size:
        assert np.abs(weights[~mask]).max() <= np.abs(weights[mask]).min()


@given(MATRICES, LEVELS, st.sampled_from(sorted(BLOCKS)))
def test_blocks_go_whole_and_in_exact_number(
    weights: np.ndarray, sparsity: float, structure: str
) -> None:
    mask = impose_mask(weights, sparsity, structure)
    height, width = BLOCKS[structure]
    kept, dropped = [], []
    for row in range(0, weights.shape[0], height):
        for column in range(0, weights.shape[1], width):
            place = slice(row, row + height), slice(column, column + width)
            assert mask[place].all() or not mask[place].any()
            mean = float(np.abs(weights[place]).astype(np.float64).mean())
            (kept if mask[place].all() else dropped).append(mean)
    assert len(dropped) == num_dropped(len(kept) + len(dropped), sparsity)
    if kept and dropped:
        assert max(dropped) <= min(kept)


@given(MATRICES, st.sampled_from(sorted(GROUPS)))
def test_groups_keep_exactly_their_number(weights: np.ndarray, structure: str) -> None:
    level, num_kept = level_of(structure), GROUPS[structure]
    assert level is not None
    mask = impose_mask(weights, level, structure)
    for column in range(0, weights.shape[1], 4):
        group, kept = np.abs(weights[:, column : column + 4]), mask[:, column : column + 4]
        assert (kept.sum(axis=1) == min(num_kept, group.shape[1])).all()
        largest = np.where(kept, -1, group).max(axis=1)
        assert (largest <= np.where(kept, group, 9).min(axis=1)).all()


@settings(max_examples=20)
@given(MATRICES, st.sampled_from(STRUCTURES))
def test_a_mask_is_the_same_each_time_and_for_any_memory_order(
    weights: np.ndarray, structure: str
) -> None:
    sparsity = level_of(structure) or 0.6
    mask = impose_mask(weights, sparsity, structure)
    np.testing.assert_array_equal(mask, impose_mask(weights.copy(order="F"), sparsity, structure))


def test_of_equals_the_first_go() -> None:
    equal = np.full((2, 8), -1.5, np.float32)
    expected = {
        UNSTRUCTURED: [[0] * 8, [1] * 8],
        "1x4": [[0] * 8, [1] * 8],
        "4x1": [[0] * 4 + [1] * 4] * 2,
        "2:4": [[0, 0, 1, 1] * 2] * 2,
    }
    for structure, rows in expected.items():
        np.testing.assert_array_equal(impose_mask(equal, 0.5, structure), rows)


def test_orientation() -> None:
    """Rows are output features: 1x4 lies along the input features, 4x1 along the outputs."""
    weights = np.ones((8, 8), np.float32)
    weights[0, :4] = 5.0
    assert impose_mask(weights, 15 / 16, "1x4").nonzero()[0].tolist() == [0] * 4
    assert impose_mask(weights.T, 15 / 16, "4x1").nonzero()[1].tolist() == [0] * 4


def test_halves_are_rounded_upwards() -> None:
    weights = np.arange(5, dtype=np.float32).reshape(1, 5)
    assert impose_mask(weights, 0.5).sum() == 2
    assert impose_mask(weights, 0.49).sum() == 3


def test_a_small_block_at_the_edge_counts_by_its_mean() -> None:
    weights = np.array([[1.0, 1.0, 1.0, 1.0, 3.0]], np.float32)
    assert impose_mask(weights, 0.5, "1x4").tolist() == [[False] * 4 + [True]]


def test_not_a_number_is_kept() -> None:
    weights = np.array([[math.nan, 1.0, 2.0, 3.0]], np.float32)
    assert impose_mask(weights, 0.75).tolist() == [[True, False, False, False]]
    assert impose_mask(weights, 0.75, "1:4").tolist() == [[True, False, False, False]]


@pytest.mark.parametrize(
    ("sparsity", "structure", "message"),
    [
        (1.0, UNSTRUCTURED, r"sparsity 1 is not in \[0, 1\)"),
        (-0.1, "1x4", "not in"),
        (math.nan, UNSTRUCTURED, "not in"),
        (90.0, UNSTRUCTURED, "0.9 for nine of ten"),
        (0.5, "2x2", "unknown structure '2x2'; the structures are unstructured, 1x4, 4x1, 2:4"),
        (0.9, "2:4", r"sparsity 0\.5, not 0\.9: ask for 0\.5, or .* unstructured, 1x4, 4x1 \["),
        (0.75, "2:4", "unstructured, 1x4, 4x1, 1:4"),
    ],
)
def test_refused(sparsity: float, structure: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        impose_mask(np.ones((4, 4), np.float32), sparsity, structure)


def test_the_lowest_int8_counts_as_large() -> None:
    mask = impose_mask(np.array([[-128, 1, 2, -3]], np.int8), 0.5)
    np.testing.assert_array_equal(mask, [[True, False, False, True]])
