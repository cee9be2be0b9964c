"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear, native against the reference."""

from __future__ import annotations

import numpy as np
import pytest

import colonnade
from conformance.single_node import assert_native, make_model

NARROW = (np.uint8, np.int8, np.uint16, np.int16)


def some_floats(*shape: int) -> np.ndarray:
    return (np.random.default_rng(1).standard_normal(shape) * 90).astype(np.float32)


def some_integers(dtype: type[np.integer], *shape: int) -> np.ndarray:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(2)
    return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("constant", [(), (1, 2)])
def test_quantize_per_tensor(dtype: type[np.integer], constant: tuple[int, ...]) -> None:
    scale, zero = np.array(0.37, np.float32), np.array(100, dtype)
    assert_native("QuantizeLinear", [some_floats(3, 70, 41), scale, zero], constant=constant)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("dtype", NARROW)
def test_quantize_per_axis(dtype: type[np.integer], axis: int) -> None:
    x = some_floats(3, 5, 17)
    scale = np.linspace(0.1, 2, x.shape[axis]).astype(np.float32)
    zero = np.arange(x.shape[axis]).astype(dtype)
    assert_native("QuantizeLinear", [x, scale, zero], axis=axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", [*NARROW, np.int32])
def test_dequantize_per_axis(dtype: type[np.integer], axis: int) -> None:
    x = some_integers(dtype, 3, 5, 300)
    scale = np.linspace(0.1, 2, x.shape[axis]).astype(np.float32)
    zero = np.arange(x.shape[axis]).astype(dtype)
    assert_native("DequantizeLinear", [x, scale, zero], axis=axis)
    assert_native("DequantizeLinear", [x, scale], axis=axis)


def test_axis_of_one_scale_is_ignored() -> None:
    scale, zero = np.array([0.25], np.float32), np.array([3], np.uint8)
    assert_native("QuantizeLinear", [some_floats(7), scale, zero], axis=1)
    assert_native("DequantizeLinear", [some_integers(np.uint8, 7), scale, zero], axis=5)


def test_without_a_zero_point() -> None:
    scale = np.array(0.25, np.float32)
    assert_native("QuantizeLinear", [some_floats(2, 9), scale])
    assert_native("QuantizeLinear", [some_floats(2, 9), scale], output_dtype=3)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1,), (5, 1000), (3, 4, 1, 7)])
def test_dynamic(shape: tuple[int, ...], threads: int) -> None:
    x = some_floats(*shape)
    assert_native("DynamicQuantizeLinear", [x], 3, threads=threads, opset=11)
    assert_native("DynamicQuantizeLinear", [np.abs(x) + 1], 3, threads=threads, opset=11)
    assert_native("DynamicQuantizeLinear", [np.zeros_like(x)], 3, threads=threads, opset=11)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "reason"),
    [
        ("QuantizeLinear", [some_floats(4, 8), np.ones((4, 2), np.float32)], {"block_size": 4},
         "scales of blocks"),
        ("DequantizeLinear", [some_integers(np.uint8, 3), np.array(1, np.float16)], {},
         "dequantization to float16"),
    ],
)  # fmt: skip
def test_refusal_is_explained(
    op: str, inputs: list[np.ndarray], attrs: dict[str, int], reason: str
) -> None:
    engine = colonnade.compile(make_model(op, inputs, **attrs), threads=1)
    (node,) = engine.explain().nodes
    assert node.runtime == "onnxruntime"
    assert reason in node.why
