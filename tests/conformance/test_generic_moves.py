"""Operators that move items, over random shapes and element types, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

import colonnade
from conformance.single_node import assert_native, make_model

DTYPES = (np.float32, np.int64, np.bool_, np.int8, np.float16, np.uint16, np.float64)
SEEDS = range(12)

Rng = np.random.Generator


def some_array(rng: Rng, shape: tuple[int, ...], dtype: object = None) -> np.ndarray:
    kind = np.dtype(dtype) if dtype is not None else np.dtype(DTYPES[rng.integers(len(DTYPES))])
    return rng.integers(0, 100, shape).astype(kind)


def some_shape(rng: Rng, rank: int | None = None, most: int = 7) -> tuple[int, ...]:
    rank = int(rng.integers(1, 6)) if rank is None else rank
    return tuple(int(dim) for dim in rng.integers(1, most, rank))


@pytest.fixture(params=SEEDS)
def rng(request: pytest.FixtureRequest) -> Rng:
    return np.random.default_rng(request.param)


def test_transpose(rng: Rng) -> None:
    shape = some_shape(rng)
    perm = [int(axis) for axis in rng.permutation(len(shape))]
    assert_native("Transpose", [some_array(rng, shape)], perm=perm)


@pytest.mark.parametrize("shape", [(33, 70), (3, 65, 17), (2, 16, 16, 4), (1, 5, 129)])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int64])
def test_transpose_in_tiles(shape: tuple[int, ...], dtype: object) -> None:
    rng = np.random.default_rng(3)
    perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    assert_native("Transpose", [some_array(rng, shape, dtype)], perm=perm, threads=2)


def test_slice(rng: Rng) -> None:
    shape = some_shape(rng)
    axes = rng.permutation(len(shape))[: rng.integers(1, len(shape) + 1)]
    steps = np.array([rng.choice([-3, -2, -1, 1, 2, 3]) for _ in axes])
    starts, ends = rng.integers(-9, 9, len(axes)), rng.integers(-9, 9, len(axes))
    inputs = [some_array(rng, shape), starts, ends, axes.astype(np.int64), steps.astype(np.int64)]
    assert_native("Slice", inputs, constant=range(1, 5))


def test_concat(rng: Rng) -> None:
    shape = some_shape(rng)
    axis = int(rng.integers(len(shape)))
    dtype = DTYPES[rng.integers(len(DTYPES))]
    parts = [
        some_array(rng, (*shape[:axis], int(rng.integers(0, 5)), *shape[axis + 1 :]), dtype)
        for _ in range(rng.integers(1, 6))
    ]
    assert_native("Concat", parts, axis=axis)


def test_split(rng: Rng) -> None:
    sizes = rng.integers(1, 5, rng.integers(1, 5))
    shape = list(some_shape(rng))
    axis = int(rng.integers(len(shape)))
    shape[axis] = int(sizes.sum())
    inputs = [some_array(rng, tuple(shape)), sizes.astype(np.int64)]
    assert_native("Split", inputs, len(sizes), constant=[1], axis=axis)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_pad(rng: Rng, mode: str) -> None:
    shape = tuple(dim + 3 for dim in some_shape(rng, most=5))
    pads = rng.integers(-1, 4, 2 * len(shape)).astype(np.int64)
    data = some_array(rng, shape, np.float32)
    value = np.array(7, np.float32) if mode == "constant" else None
    assert_native("Pad", [data, pads, value], constant=[1], mode=mode)


def test_expand(rng: Rng) -> None:
    to = some_shape(rng)
    shape = tuple(dim if rng.integers(2) else 1 for dim in to[rng.integers(len(to)) :])
    inputs = [some_array(rng, shape), np.array(to, np.int64)]
    assert_native("Expand", inputs, constant=[1])


def test_tile(rng: Rng) -> None:
    shape = some_shape(rng, most=4)
    repeats = rng.integers(1, 4, len(shape)).astype(np.int64)
    assert_native("Tile", [some_array(rng, shape), repeats], constant=[1])


@pytest.mark.parametrize("op", ["DepthToSpace", "SpaceToDepth"])
@pytest.mark.parametrize("block", [2, 3])
def test_pixel_shuffle(op: str, block: int) -> None:
    rng = np.random.default_rng(block)
    shape = (2, 3 * block**2, 4, 5) if op == "DepthToSpace" else (2, 3, 4 * block, 5 * block)
    attrs = {"mode": "CRD"} if op == "DepthToSpace" and block == 2 else {}
    assert_native(op, [some_array(rng, shape, np.float32)], blocksize=block, **attrs)


def test_trilu(rng: Rng) -> None:
    shape = some_shape(rng, int(rng.integers(2, 5)))
    k = np.array(rng.integers(-8, 9), np.int64)
    assert_native("Trilu", [some_array(rng, shape), k], upper=int(rng.integers(2)))


@pytest.mark.parametrize("time_axis", [0, 1])
def test_reverse_sequence(time_axis: int) -> None:
    rng = np.random.default_rng(5)
    lengths = np.array([1, 4, 3], np.int64)
    shape = (4, 3, 2, 5) if time_axis == 0 else (3, 4, 2, 5)
    attrs = {"time_axis": time_axis, "batch_axis": 1 - time_axis}
    assert_native("ReverseSequence", [some_array(rng, shape), lengths], **attrs)


@pytest.mark.parametrize("transform", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize(rng: Rng, mode: str, transform: str) -> None:
    shape = (2, 3, *some_shape(rng, 2))
    sizes = np.array([*shape[:2], *rng.integers(1, 13, 2)], np.int64)
    inputs = [rng.standard_normal(shape).astype(np.float32), None, None, sizes]
    attrs = {"mode": mode, "coordinate_transformation_mode": transform}
    # Positions are float32 in one and float64 in the other: weights differ by a few roundings
    # of positions up to the size of an axis.
    assert_native("Resize", inputs, constant=[3], terms=64 * 13, **attrs)


@pytest.mark.parametrize("axes", [(2, 3), (1, 2)])
@pytest.mark.parametrize("antialias", [0, 1])
def test_resize_of_some_axes(axes: tuple[int, ...], antialias: int) -> None:
    data = np.random.default_rng(11).standard_normal((2, 9, 8, 7)).astype(np.float32)
    inputs = [data, None, np.array([0.5, 1.5], np.float32)]
    attrs = {"mode": "linear", "antialias": antialias, "axes": axes}
    assert_native("Resize", inputs, constant=[2], terms=64 * 13, **attrs)


@pytest.mark.parametrize("source", [*DTYPES, np.int32, np.uint8, np.uint32, np.uint64])
@pytest.mark.parametrize("target", [*DTYPES, np.int32, np.uint8, np.uint32, np.uint64])
def test_cast(source: type[np.generic], target: type[np.generic]) -> None:
    from onnx import helper

    values = np.array([0, 1, 2, 100, 127, 0.5, 99.75]).astype(source)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
    assert_native("Cast", [values], to=to)


def test_where(rng: Rng) -> None:
    shape = some_shape(rng)
    dtype = DTYPES[rng.integers(len(DTYPES))]

    def part(kind: object) -> np.ndarray:
        cut = shape[rng.integers(len(shape)) :]
        return some_array(rng, tuple(d if rng.integers(3) else 1 for d in cut), kind)

    condition = part(np.int64) % 2 == 0
    assert_native("Where", [condition, part(dtype), part(dtype)])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_elements(shape: tuple[int, ...]) -> None:
    empty = np.zeros(shape, np.float32)
    assert_native("Transpose", [empty], perm=[1, 0])
    assert_native("Concat", [empty, empty], axis=0)
    assert_native("Cast", [empty], to=7)


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(
    ("mode", "axes"), [("nearest", 2), ("linear", 2), ("cubic", 2), ("linear", 3)]
)
def test_grid_sample(mode: str, axes: int, padding: str, align: int) -> None:
    rng = np.random.default_rng(13)
    dims = (5, 4, 3)[:axes]
    image = rng.standard_normal((2, 3, *dims)).astype(np.float32)
    grid = rng.uniform(-2.5, 2.5, (2, *(dim + 1 for dim in dims), axes)).astype(np.float32)
    attrs = {"mode": mode, "padding_mode": padding, "align_corners": align}
    # A coordinate errs by a rounding of the size of its axis, which moves every weight.
    assert_native("GridSample", [image, grid], terms=64 * 2**axes, threads=2, opset=20, **attrs)


def test_grid_sample_far_away() -> None:
    """Infinite and NaN coordinates read what lies outside."""
    image = np.ones((1, 1, 3, 3), np.float32)
    grid = np.array([[[[np.inf, 0], [np.nan, np.nan], [-1e30, 1e30]]]], np.float32)
    for padding, want in (("zeros", 0.0), ("border", 1.0), ("reflection", 1.0)):
        model = make_model("GridSample", [image, grid], opset=20, padding_mode=padding)
        made = colonnade.compile(model, threads=1, fallback="forbid").run([image, grid])["y0"]
        np.testing.assert_allclose(made, want, rtol=0, atol=1e-6)
