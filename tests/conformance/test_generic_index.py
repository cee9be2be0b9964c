"""Operators that index or order, over random shapes and element types, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

import colonnade
from colonnade.errors import RunError
from conformance.single_node import assert_native, make_model

SEEDS = range(12)
DTYPES = (np.float32, np.int64, np.int32, np.uint8, np.float64)

Rng = np.random.Generator


@pytest.fixture(params=SEEDS)
def rng(request: pytest.FixtureRequest) -> Rng:
    return np.random.default_rng(request.param)


def some_shape(rng: Rng, rank: int | None = None) -> tuple[int, ...]:
    rank = int(rng.integers(1, 5)) if rank is None else rank
    return tuple(int(dim) for dim in rng.integers(1, 7, rank))


def some_array(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 50, shape).astype(DTYPES[rng.integers(len(DTYPES))])


def some_indices(rng: Rng, limit: int, shape: tuple[int, ...]) -> np.ndarray:
    dtype = np.int32 if rng.integers(2) else np.int64
    return rng.integers(-limit, limit, shape).astype(dtype)


def test_gather(rng: Rng) -> None:
    shape = some_shape(rng)
    axis = int(rng.integers(len(shape)))
    indices = some_indices(rng, shape[axis], some_shape(rng, int(rng.integers(0, 3))))
    assert_native("Gather", [some_array(rng, shape), indices], axis=axis)


def test_gather_elements(rng: Rng) -> None:
    shape = some_shape(rng)
    axis = int(rng.integers(len(shape)))
    index_shape = tuple(int(rng.integers(1, dim + 1)) for dim in shape)
    indices = some_indices(rng, shape[axis], index_shape)
    assert_native("GatherElements", [some_array(rng, shape), indices], axis=axis)


def test_gather_nd(rng: Rng) -> None:
    shape = some_shape(rng, 4)
    batch_dims = int(rng.integers(0, 3))
    width = int(rng.integers(1, 5 - batch_dims))
    tuples = [
        rng.integers(-dim, dim, (*shape[:batch_dims], 3))
        for dim in shape[batch_dims : batch_dims + width]
    ]
    indices = np.stack(tuples, axis=-1).astype(np.int64)
    assert_native("GatherND", [some_array(rng, shape), indices], batch_dims=batch_dims)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
def test_scatter_elements(rng: Rng, reduction: str) -> None:
    shape = some_shape(rng)
    axis = int(rng.integers(len(shape)))
    data = some_array(rng, shape)
    # Without a reduction equal indices have no defined order: each line is a permutation.
    lines = np.argsort(rng.random(shape), axis=axis).astype(np.int64)
    indices = lines if reduction == "none" else lines // 2
    updates = rng.integers(0, 5, shape).astype(data.dtype)
    assert_native("ScatterElements", [data, indices, updates], axis=axis, reduction=reduction)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
def test_scatter_nd(rng: Rng, reduction: str) -> None:
    shape = some_shape(rng, 3)
    width = int(rng.integers(1, 4))
    every = np.stack(np.meshgrid(*map(np.arange, shape[:width]), indexing="ij"), -1)
    tuples = rng.permutation(every.reshape(-1, width))[: rng.integers(1, 6)].astype(np.int64)
    data = some_array(rng, shape)
    updates = rng.integers(0, 5, (len(tuples), *shape[width:])).astype(data.dtype)
    assert_native("ScatterND", [data, tuples, updates], reduction=reduction)


def test_one_hot(rng: Rng) -> None:
    shape = some_shape(rng)
    indices = rng.integers(-6, 8, shape).astype(DTYPES[rng.integers(3)])
    values = np.array([1, 7], np.float32)
    axis = int(rng.integers(-1, len(shape) + 1))
    assert_native("OneHot", [indices, np.array(5, np.int64), values], constant=[1], axis=axis)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("is_last", [0, 1])
def test_arg(rng: Rng, op: str, is_last: int) -> None:
    shape = some_shape(rng)
    axis = int(rng.integers(len(shape)))
    data = rng.integers(0, 4, shape).astype(DTYPES[rng.integers(len(DTYPES))])
    assert_native(op, [data], axis=axis, select_last_index=is_last, keepdims=int(rng.integers(2)))


@pytest.mark.parametrize("largest", [0, 1])
def test_top_k(rng: Rng, largest: int) -> None:
    shape = some_shape(rng)
    axis = int(rng.integers(len(shape)))
    data = rng.integers(0, 9, shape).astype(DTYPES[rng.integers(3)])
    k = np.array([rng.integers(1, shape[axis] + 1)], np.int64)
    assert_native("TopK", [data, k], 2, constant=[1], axis=axis, largest=largest)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cum_sum(rng: Rng, exclusive: int, reverse: int) -> None:
    shape = some_shape(rng)
    data = rng.integers(-9, 9, shape).astype(DTYPES[rng.integers(3)])
    axis = np.array(rng.integers(len(shape)), np.int64)
    assert_native("CumSum", [data, axis], constant=[1], exclusive=exclusive, reverse=reverse)


def test_index_out_of_range_is_named() -> None:
    data, indices = np.zeros((4, 2), np.float32), np.array([0, 3, 7, 1], np.int64)
    engine = colonnade.compile(make_model("Gather", [data, indices]), threads=1)
    with pytest.raises(RunError, match=r"index 7 at position 2 .*\[-4, 4\)"):
        engine.run({"x0": data, "x1": indices})
    indices[2] = 2  # The engine stays usable.
    assert engine.run({"x0": data, "x1": indices})["y0"].shape == (4, 2)


@pytest.mark.parametrize("op", ["GatherElements", "ScatterElements", "GatherND", "ScatterND"])
def test_every_indexing_operator_checks(op: str) -> None:
    data = np.zeros((3, 4), np.float32)
    indices = np.array([[5, 5], [0, -9]], np.int64)
    updates = {
        "ScatterElements": np.zeros((2, 2), np.float32),
        "ScatterND": np.zeros(2, np.float32),
    }
    inputs = [data, indices, *([updates[op]] if op in updates else [])]
    engine = colonnade.compile(make_model(op, inputs), threads=1, fallback="forbid")
    with pytest.raises(RunError, match="out of range"):
        engine.run([array for array in inputs if array is not None])


def test_nan_is_largest() -> None:
    data = np.array([1, np.nan, 3, np.nan], np.float32)
    model = make_model("TopK", [data, np.array([3], np.int64)], 2, constant=[1])
    made = colonnade.compile(model, threads=1, fallback="forbid").run([data])
    assert made["y1"].tolist() == [1, 3, 2]
