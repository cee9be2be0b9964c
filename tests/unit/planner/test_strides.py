"""Strided spaces, column views and index tables, against numpy on every element."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from colonnade.planner.columns import reshaped_feature_axis, transposed_feature_axis
from colonnade.planner.index_table import FILL, encode_runs
from colonnade.planner.strides import MAX_RANK, Walk, broadcast, fuse_axes, row_major, space_params


def offsets(dims: tuple[int, ...], walk: Walk) -> np.ndarray:
    """The offset that a walk visits at every index, in order."""
    grid = np.indices(dims).reshape(len(dims), -1)
    return walk.start + np.array(walk.strides, np.int64) @ grid


@pytest.mark.parametrize("seed", range(30))
def test_fusing_visits_the_same_offsets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(dim) for dim in rng.integers(1, 5, 4))
    to = tuple(int(dim) for dim in rng.permutation(shape))
    strides = row_major(shape)
    perm = rng.permutation(4)
    dims = tuple(shape[axis] for axis in perm)
    transposed = Walk(tuple(strides[axis] for axis in perm), int(rng.integers(5)))
    repeated = Walk(broadcast((dims[-1],), dims))
    fused, walks = fuse_axes(dims, [transposed, repeated])
    assert len(fused) <= len(to)
    for before, after in zip((transposed, repeated), walks, strict=True):
        np.testing.assert_array_equal(offsets(fused, after), offsets(dims, before))


def test_fusing_leaves_one_axis() -> None:
    assert fuse_axes((), [Walk(())]) == ((1,), (Walk((1,)),))
    assert fuse_axes((1, 1), [Walk((5, 5), 3)]) == ((1,), (Walk((1,), 3),))


def test_too_many_axes_are_refused() -> None:
    shape = (2,) * (MAX_RANK + 1)
    reversed_strides = tuple(reversed(row_major(shape)))
    assert space_params(shape, [Walk(reversed_strides)]) is None
    assert space_params(shape, [Walk(row_major(shape))]) == ((2 ** len(shape),), 0, (1,))


def column_order(shape: tuple[int, ...], feature_axis: int) -> np.ndarray:
    """Row-major item numbers in the order (feature, column) of columns(feature_axis)."""
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    return np.moveaxis(numbers, feature_axis, 0).reshape(shape[feature_axis], -1)


SHAPES = [(2, 3, 4), (1, 6, 2), (4, 1, 1), (2, 2, 2), (3, 1, 4, 1), (5,)]


@pytest.mark.parametrize("shape", SHAPES)
def test_reshape_is_a_view_exactly_when_the_bytes_agree(shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    targets = [
        t for rank in (1, 2, 3) for t in itertools.product(range(1, size + 1), repeat=rank)
        if np.prod(t) == size
    ]  # fmt: skip
    for axis, target in itertools.product(range(len(shape)), targets):
        same = [
            a for a in range(len(target))
            if np.array_equal(column_order(shape, axis), column_order(target, a))
        ]  # fmt: skip
        found = reshaped_feature_axis(shape, axis, target)
        assert found in same if same else found is None


@pytest.mark.parametrize("shape", SHAPES)
def test_transpose_is_a_view_exactly_when_the_bytes_agree(shape: tuple[int, ...]) -> None:
    rank = len(shape)
    for axis, perm in itertools.product(range(rank), itertools.permutations(range(rank))):
        numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape).transpose(perm)
        new_axis = perm.index(axis)
        moved = np.moveaxis(numbers, new_axis, 0).reshape(shape[axis], -1)
        is_same = np.array_equal(column_order(shape, axis), moved)
        assert transposed_feature_axis(shape, axis, perm) == (new_axis if is_same else None)


def decode_runs(runs: tuple[int, ...]) -> list[int]:
    table: list[int] = []
    for first, step, count in zip(*[iter(runs)] * 3, strict=True):
        table += [FILL if first == FILL else first + i * step for i in range(count)]
    return table


@pytest.mark.parametrize("seed", range(40))
def test_runs_decode_to_the_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(FILL, rng.integers(1, 5), rng.integers(1, 12))
    assert decode_runs(encode_runs(table)) == table.tolist()


def test_runs_are_long() -> None:
    assert encode_runs(np.arange(100)) == (0, 1, 100)
    assert encode_runs(np.arange(9)[::-2]) == (8, -2, 5)
    assert encode_runs(np.repeat(np.arange(3), 2)) == (0, 0, 2, 1, 0, 2, 2, 0, 2)
    assert encode_runs(np.pad(np.arange(4), 2, constant_values=FILL)) == (
        FILL, 0, 2, 0, 1, 4, FILL, 0, 2,
    )  # fmt: skip
