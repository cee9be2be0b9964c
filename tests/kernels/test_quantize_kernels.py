"""Every quantize row against numpy, to the bit: ties, saturation, NaN, tails, every layout of scales."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.ir import DType, Node
from colonnade.planner.element import ELEMENT_CODE
from colonnade.reference import evaluate
from kernels.harness import each_isa, run_call

NARROW = (np.uint8, np.int8, np.uint16, np.int16)
SPACES = [
    # outer, channels, inner
    (1, 1, 1), (1, 1, 7), (1, 1, 256), (1, 1, 4097), (3, 5, 1), (2, 300, 1), (2, 3, 19), (1, 17, 300),
]  # fmt: skip


def code(dtype: object) -> int:
    return ELEMENT_CODE[DType.from_numpy(np.dtype(dtype))]


def some_floats(count: int, scale: np.ndarray, seed: int) -> np.ndarray:
    """Numbers all over the range and beyond, ties between two steps among them, and what is none."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 60, count).astype(np.float32) * scale
    ties = (rng.integers(-300, 300, count) + 0.5).astype(np.float32) * scale
    x = np.where(rng.random(count) < 0.3, ties, x).astype(np.float32)
    special = np.array(
        [np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38, -3.4e38, 2.0**31, -(2.0**31)], np.float32
    )
    at = rng.random(count) < 0.1
    x[at] = special[rng.integers(0, len(special), int(at.sum()))]
    return x


def parameters(
    space: tuple[int, int, int], dtype: object, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype)  # type: ignore[call-overload]
    scale = rng.choice(np.array([0.5, 0.0078125, 0.1, 3.7], np.float32), space[1])
    return scale, rng.integers(limits.min, limits.max, space[1], endpoint=True).astype(dtype)  # type: ignore[call-overload]


def expected(op: str, *inputs: np.ndarray | None) -> np.ndarray:
    names = tuple(f"i{i}" for i in range(len(inputs)))
    return evaluate(Node(op, names, ("y",), {"axis": 1}, "", "", 21), inputs)[0]


@each_isa
@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("has_zero", [True, False])
def test_quantize(isa: str, space: tuple[int, int, int], dtype: object, has_zero: bool) -> None:
    scale, zero = parameters(space, dtype, 3)
    by_element = np.broadcast_to(scale[:, None], space).reshape(-1)
    x = some_floats(by_element.size, by_element, 4).reshape(space)
    y = np.zeros(space, dtype)  # type: ignore[call-overload]
    given = zero if has_zero else None
    status = run_call("quantize", [x, scale, given], [y], (code(dtype), *space), isa, threads=2)
    assert status[0] == 0
    wanted = expected("QuantizeLinear", x, scale, zero if has_zero else np.zeros_like(zero))
    np.testing.assert_array_equal(y, wanted)


@each_isa
@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("dtype", [*NARROW, np.int32])
@pytest.mark.parametrize("has_zero", [True, False])
def test_dequantize(isa: str, space: tuple[int, int, int], dtype: object, has_zero: bool) -> None:
    scale, zero = parameters(space, dtype, 5)
    limits = np.iinfo(dtype)  # type: ignore[call-overload]
    rng = np.random.default_rng(6)
    x = rng.integers(limits.min, limits.max, space, endpoint=True).astype(dtype)  # type: ignore[call-overload]
    x.reshape(-1)[:2] = [limits.min, limits.max][: x.size]
    y = np.full(space, np.nan, np.float32)
    given = zero if has_zero else None
    status = run_call("dequantize", [x, scale, given], [y], (code(dtype), *space), isa, threads=2)
    assert status[0] == 0
    wanted = expected("DequantizeLinear", x, scale, given)
    np.testing.assert_array_equal(y.view(np.int32), wanted.view(np.int32))


RANGES = [
    ("both signs", np.linspace(-3, 7, 1001)),
    ("positive", np.linspace(2, 7, 33)),
    ("negative", np.linspace(-9, -2, 5)),
    ("zeros", np.zeros(100)),
    ("negative zero", np.full(3, -0.0)),
    ("nan", np.array([np.nan, 1, -2, np.nan])),
    ("only nan", np.full(70, np.nan)),
    ("infinity", np.array([np.inf, -1.0])),
    ("infinities", np.array([np.inf, -np.inf])),
    ("wider than floats", np.array([3e38, -3e38])),
    ("least", np.array([1e-45, 0])),
    ("one", np.array([5.0])),
]


@each_isa
@pytest.mark.parametrize(("name", "x"), RANGES, ids=[name for name, _ in RANGES])
def test_dynamic_scale(isa: str, name: str, x: np.ndarray) -> None:
    x = x.astype(np.float32)
    scale, zero = np.zeros((), np.float32), np.zeros((), np.uint8)
    run_call("dynamic_scale", [x], [scale.reshape(1), zero.reshape(1)], (x.size,), isa)
    node = Node("DynamicQuantizeLinear", ("x",), ("y", "scale", "zero"), {}, "", "", 11)
    integers, wanted_scale, wanted_zero = evaluate(node, [x])
    np.testing.assert_array_equal(scale, wanted_scale)
    np.testing.assert_array_equal(zero, wanted_zero)
    y = np.zeros(x.shape, np.uint8)
    params = (code(np.uint8), 1, 1, x.size)
    run_call("quantize", [x, wanted_scale.reshape(1), wanted_zero.reshape(1)], [y], params, isa)
    np.testing.assert_array_equal(y, integers)
