"""Arithmetic, comparison, logic and reductions of every type, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

import colonnade
from conformance.single_node import assert_native, make_model

INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
WIDE = (np.int32, np.int64, np.float32, np.float64)

Rng = np.random.Generator


def some_array(rng: Rng, shape: tuple[int, ...], dtype: object) -> np.ndarray:
    kind = np.dtype(dtype)
    low = 0 if kind.kind == "u" else -20
    return rng.integers(low, 21, shape).astype(kind)


SHAPES = [
    ((5, 7), (5, 7)),
    ((5, 7), (7,)),
    ((5, 1), (1, 7)),
    ((2, 1, 3, 1, 2), (1, 4, 3, 5, 1)),
    ((), (3, 2)),
    ((1025, 9), (1025, 1)),
]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", [*INTEGERS, np.float64])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_binary(op: str, dtype: object, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    rng = np.random.default_rng(1)
    a, b = (some_array(rng, shape, dtype) for shape in shapes)
    b[b == 0] = 3
    assert_native(op, [a, b])


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("fmod", [0, 1])
def test_mod(dtype: object, fmod: int) -> None:
    rng = np.random.default_rng(2)
    a, b = some_array(rng, (6, 50), dtype), some_array(rng, (6, 50), dtype)
    b[b == 0] = 3
    assert_native("Mod", [a, b], fmod=fmod)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integer_division_has_no_traps(dtype: type[np.signedinteger]) -> None:
    low = np.iinfo(dtype).min
    a, b = np.array([low, low, 7, -7], dtype), np.array([-1, 0, 0, 2], dtype)
    for op, want in (("Div", [low, 0, 0, -3]), ("Mod", [0, 0, 0, 1])):
        engine = colonnade.compile(make_model(op, [a, b]), threads=1, fallback="forbid")
        assert engine.run([a, b])["y0"].tolist() == want


@pytest.mark.parametrize("dtype", [*INTEGERS, *WIDE, np.bool_])
@pytest.mark.parametrize("op", ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
def test_comparison(op: str, dtype: object) -> None:
    if dtype is np.bool_ and op != "Equal":
        return
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 3, (4, 1, 33)).astype(dtype), rng.integers(0, 3, (5, 33)).astype(dtype)
    assert_native(op, [a, b])


@pytest.mark.parametrize("op", ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
def test_nan_compares_false(op: str) -> None:
    a = np.array([np.nan, 1, np.nan, np.inf], np.float32)
    b = np.array([np.nan, np.nan, 1, np.inf], np.float32)
    assert_native(op, [a, b])


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op: str) -> None:
    rng = np.random.default_rng(4)
    assert_native(op, [rng.random((3, 1, 9)) < 0.5, rng.random((4, 9)) < 0.5])


@pytest.mark.parametrize("op", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_bitwise(op: str, dtype: object) -> None:
    rng = np.random.default_rng(5)
    assert_native(op, [some_array(rng, (4, 9), dtype), some_array(rng, (9,), dtype)])


@pytest.mark.parametrize("base", WIDE)
@pytest.mark.parametrize("exponent", WIDE)
def test_pow(base: type[np.generic], exponent: type[np.generic]) -> None:
    a, b = np.array([1, 2, 3, 7]).astype(base), np.array([0, 1, 5, 4]).astype(exponent)
    assert_native("Pow", [a, b], terms=4)


@pytest.mark.parametrize("op", ["Neg", "Abs", "Sign", "BitwiseNot", "Not", "IsNaN", "IsInf"])
def test_unary(op: str) -> None:
    data = np.array([-3, -1, 0, 1, 5])
    kinds: dict[str, tuple[object, ...]] = {
        "Not": (np.bool_,), "BitwiseNot": INTEGERS, "IsNaN": (np.float32, np.float64),
        "IsInf": (np.float32, np.float64),
    }  # fmt: skip
    for dtype in kinds.get(op, (np.int8, np.int32, np.int64, np.float64)):
        values = data.astype(dtype)
        if op.startswith("Is"):
            values[:3] = [np.nan, np.inf, -np.inf]
        assert_native(op, [values])


@pytest.mark.parametrize("positive", [0, 1])
def test_is_inf_of_one_sign(positive: int) -> None:
    data = np.array([np.inf, -np.inf, np.nan, 1], np.float32)
    assert_native("IsInf", [data], detect_positive=positive, detect_negative=1 - positive)


@pytest.mark.parametrize("op", ["Sum", "Mean", "Min", "Max"])
@pytest.mark.parametrize("dtype", [np.int32, np.float64, np.float32])
def test_variadic(op: str, dtype: object) -> None:
    if op in ("Sum", "Mean") and dtype is np.int32:
        return
    rng = np.random.default_rng(6)
    parts = [some_array(rng, shape, dtype) for shape in ((5, 1), (1, 600), (5, 600), (1,))]
    assert_native(op, parts, terms=len(parts))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.float32, np.float64])
def test_clip_with_computed_bounds(dtype: object) -> None:
    rng = np.random.default_rng(7)
    data, low, high = some_array(rng, (3, 40), dtype), np.array(-5, dtype), np.array(9, dtype)  # type: ignore[call-overload]
    assert_native("Clip", [data, low, high])
    assert_native("Clip", [data, None, high])
    assert_native("Clip", [data, low])


REDUCTIONS = [
    "ReduceSum", "ReduceProd", "ReduceMin", "ReduceMax", "ReduceMean", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
]  # fmt: skip


@pytest.mark.parametrize("axes", [(0,), (1,), (3,), (0, 2), (1, 3), (1, 2), (0, 1, 2, 3), ()])
@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("op", REDUCTIONS)
def test_reduce(op: str, dtype: type[np.generic], axes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(8)
    data = (rng.integers(1, 4, (3, 5, 2, 4)) / 2 + 0.5).astype(dtype)
    size = int(np.prod([data.shape[axis] for axis in axes] or [data.size]))
    inputs = [data, np.array(axes, np.int64)]
    keep = int(rng.integers(2))
    terms = 4 * size * (size if op == "ReduceProd" else 1)
    assert_native(op, inputs, constant=[1], terms=terms, keepdims=keep)


@pytest.mark.parametrize("op", ["ReduceMin", "ReduceMax"])
@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8])
def test_extremes_of_narrow_types(op: str, dtype: object) -> None:
    rng = np.random.default_rng(9)
    data = rng.integers(0, 2, (3, 300)).astype(dtype)
    for axis in (0, 1):
        assert_native(op, [data, np.array([axis], np.int64)], constant=[1])


@pytest.mark.parametrize("op", REDUCTIONS)
def test_reduction_of_nothing(op: str) -> None:
    if op in ("ReduceMin", "ReduceMax", "ReduceMean"):
        return
    data = np.zeros((2, 0, 3), np.float32)
    assert_native(op, [data, np.array([1], np.int64)], constant=[1])


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_bit_shift(direction: str, dtype: object) -> None:
    rng = np.random.default_rng(10)
    a, b = rng.integers(0, 200, 64).astype(dtype), rng.integers(0, 8, 64).astype(dtype)
    assert_native("BitShift", [a, b], direction=direction)


def test_threads_agree() -> None:
    rng = np.random.default_rng(11)
    a, b = rng.integers(-99, 99, (300, 7, 41)), rng.integers(1, 99, (7, 41))
    model = make_model("Mod", [a, b])
    one, two = (colonnade.compile(model, threads=n, fallback="forbid") for n in (1, 2))
    np.testing.assert_array_equal(one.run([a, b])["y0"], two.run([a, b])["y0"])
