"""QLinear, QConv and QMatMul against the ONNX operators that they stand for."""

from __future__ import annotations

import numpy as np

from colonnade.ir import AttrValue, Node
from colonnade.reference import evaluate

RNG = np.random.default_rng(17)


def uint8(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def int8(*shape: int) -> np.ndarray:
    return RNG.integers(-128, 128, shape).astype(np.int8)


def run(
    op: str, inputs: tuple[np.ndarray | None, ...], domain: str = "", **attrs: AttrValue
) -> np.ndarray:
    names = tuple("" if x is None else f"i{i}" for i, x in enumerate(inputs))
    return evaluate(Node(op, names, ("out",), attrs, "", domain, 21), inputs)[0]


def dequantized(x: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int = 0) -> np.ndarray:
    return run("DequantizeLinear", (x, scale, zero), axis=axis)


X_SCALE, X_ZERO = np.array(0.25, np.float32), np.array(120, np.uint8)
Y_SCALE, Y_ZERO = np.array(2, np.float32), np.array(-7, np.int8)


def powers(count: int) -> np.ndarray:
    """Scales with which float32 arithmetic is exact."""
    return np.float32(2) ** -np.arange(3, 3 + count, dtype=np.float32)


def test_qlinear_is_a_product_of_dequantized_operands() -> None:
    x, w, scale, zero = uint8(2, 3, 8), int8(5, 8), powers(5), int8(5)
    bias = np.arange(5, dtype=np.float32)
    product = run("MatMul", (dequantized(x, X_SCALE, X_ZERO), dequantized(w, scale, zero).T)) + bias
    inputs = (x, w, X_SCALE, X_ZERO, scale, zero, bias)
    np.testing.assert_array_equal(run("QLinear", inputs, "colonnade"), product)
    quantized = run("QuantizeLinear", (product, Y_SCALE, Y_ZERO))
    got = run("QLinear", (*inputs, Y_SCALE, Y_ZERO), "colonnade")
    np.testing.assert_array_equal(got, quantized)
    assert got.dtype == np.int8
    assert {-128, 127} <= set(got.reshape(-1).tolist())


def test_qconv_pads_with_the_zero_point() -> None:
    x, w, scale = uint8(2, 4, 6, 5), int8(6, 2, 3, 3), powers(6)
    zero = np.zeros((), np.int8)
    attrs: dict[str, AttrValue] = {"pads": (1, 1, 1, 1), "group": 2, "strides": (2, 1)}
    weights = dequantized(w, scale, np.zeros(6, np.int8))
    wanted = run("Conv", (dequantized(x, X_SCALE, X_ZERO), weights), **attrs)
    got = run("QConv", (x, w, X_SCALE, X_ZERO, scale, zero), "colonnade", **attrs)
    np.testing.assert_array_equal(got, wanted)


def test_qconv_of_one_axis_with_output_and_without_bias() -> None:
    x, w, scale = int8(1, 3, 9), int8(4, 3, 3), np.array(0.125, np.float32)
    x_zero, w_zero = np.array(5, np.int8), np.array(-2, np.int8)
    wanted = run("QLinearConv", (x, X_SCALE, x_zero, w, scale, w_zero, Y_SCALE, Y_ZERO))
    got = run("QConv", (x, w, X_SCALE, x_zero, scale, w_zero, None, Y_SCALE, Y_ZERO), "colonnade")
    np.testing.assert_array_equal(got, wanted)


def test_qmatmul_is_qlinear_matmul() -> None:
    a, b = uint8(2, 1, 3, 8), int8(4, 8, 5)
    b_scale, b_zero = np.array(0.5, np.float32), np.array(3, np.int8)
    wanted = run("QLinearMatMul", (a, X_SCALE, X_ZERO, b, b_scale, b_zero, Y_SCALE, Y_ZERO))
    inputs = (a, b, X_SCALE, X_ZERO, b_scale, b_zero)
    np.testing.assert_array_equal(run("QMatMul", (*inputs, Y_SCALE, Y_ZERO), "colonnade"), wanted)
    wanted = run("MatMul", (dequantized(a, X_SCALE, X_ZERO), dequantized(b, b_scale, b_zero)))
    np.testing.assert_array_equal(run("QMatMul", inputs, "colonnade"), wanted)


def test_extremes_of_the_integers() -> None:
    """k = 33,025 products of the widest differences still fit int32."""
    k = 33_025
    x, w = np.full((1, k), 255, np.uint8), np.full((1, k), -128, np.int8)
    one, zeros = np.array(1, np.float32), (np.array(0, np.uint8), np.array(127, np.int8))
    got = run("QLinear", (x, w, one, zeros[0], one, zeros[1]), "colonnade")
    assert got.item() == np.float32(-255 * 255 * k)
    assert 255 * 255 * k < 2**31


def test_nan_is_the_lowest_and_infinities_saturate() -> None:
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    for zero in (np.array(100, np.uint8), np.array(3, np.int8)):
        limits = np.iinfo(zero.dtype)
        got = run("QuantizeLinear", (x, X_SCALE, zero))
        assert got.tolist() == [limits.min, limits.max, limits.min]
