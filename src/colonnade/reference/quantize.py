"""8- and 16-bit arithmetic: to and from integers, and products of integers."""

from __future__ import annotations

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import axis_of, dtype_attr, int_attr
from colonnade.reference.conv import convolve
from colonnade.reference.failure import EvaluationError, UnsupportedNodeError
from colonnade.reference.matmul import matmul
from colonnade.reference.operation import Operations, Outputs
from colonnade.reference.precision import narrow

_UINT8 = np.dtype(np.uint8)


def saturate(x: np.ndarray, dtype: np.dtype[np.generic]) -> np.ndarray:
    """Clip to the integer type's range; NaN gives its lowest value, as in ONNX Runtime."""
    if dtype.kind not in "iu" or dtype.itemsize > 4:
        raise UnsupportedNodeError(f"quantisation to {dtype}")
    limits = np.iinfo(dtype)  # type: ignore[type-var]  # an integer, by the check above
    numbers = np.where(np.isnan(x), limits.min, x)
    return np.asarray(np.clip(numbers, limits.min, limits.max).astype(dtype))


def _spread(node: Node, parameter: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A scale or zero point against x: for everything, along an axis, or for blocks of it."""
    if parameter.size == 1:
        return parameter.reshape(())
    axis = axis_of(int_attr(node, "axis", 1), x.ndim)
    if parameter.ndim == 1:
        return parameter.reshape((-1,) + (1,) * (x.ndim - 1 - axis))
    block = int_attr(node, "block_size", 0)
    if block < 1 or parameter.ndim != x.ndim:
        raise EvaluationError(f"scale {list(parameter.shape)} for input {list(x.shape)}")
    repeated = np.repeat(parameter, block, axis)
    return repeated.take(range(x.shape[axis]), axis)


def _quantize_linear(
    node: Node, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None
) -> Outputs:
    default = _UINT8 if zero is None else zero.dtype
    dtype = default if zero is not None else dtype_attr(node, "output_dtype", default)
    precision = dtype_attr(node, "precision", scale.dtype)
    quotient = x.astype(precision) / _spread(node, scale, x).astype(precision)
    shift = 0 if zero is None else _spread(node, zero, x).astype(np.float64)
    return (saturate(np.rint(quotient).astype(np.float64) + shift, dtype),)


def _dequantize_linear(
    node: Node, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None
) -> Outputs:
    dtype = dtype_attr(node, "output_dtype", scale.dtype)
    centred = x.astype(np.int64) - (0 if zero is None else _spread(node, zero, x).astype(np.int64))
    return (narrow(centred.astype(dtype) * _spread(node, scale, x).astype(dtype), dtype),)


def _dynamic_quantize_linear(node: Node, x: np.ndarray) -> Outputs:
    """NaN is no part of the range. A range of nothing has scale 1, as in ONNX Runtime."""
    del node
    low, high = (
        np.float32(extreme.reduce(x, axis=None, initial=np.float32(0)))
        for extreme in (np.fmin, np.fmax)
    )
    scale = np.float32((high - low) / np.float32(255))
    scale = scale if scale != 0 else np.float32(1)
    zero = saturate(np.rint(-low / scale), _UINT8)
    quantized = saturate(np.rint(x / scale).astype(np.float64) + zero.astype(np.float64), _UINT8)
    return quantized, np.array(scale, np.float32), zero


def _centred(x: np.ndarray, zero: np.ndarray | None) -> np.ndarray:
    return x.astype(np.int64) - (0 if zero is None else zero.astype(np.int64))


def _per_row(parameter: np.ndarray) -> np.ndarray:
    """A 1-D parameter of the left operand holds one number a row."""
    return parameter[:, None] if parameter.ndim == 1 else parameter


def _matmul_integer(
    node: Node,
    a: np.ndarray,
    b: np.ndarray,
    a_zero: np.ndarray | None = None,
    b_zero: np.ndarray | None = None,
) -> Outputs:
    del node
    row_zero = None if a_zero is None else _per_row(a_zero)
    return (matmul(_centred(a, row_zero), _centred(b, b_zero)).astype(np.int32),)


def _qlinear_matmul(
    node: Node,
    a: np.ndarray,
    a_scale: np.ndarray,
    a_zero: np.ndarray,
    b: np.ndarray,
    b_scale: np.ndarray,
    b_zero: np.ndarray,
    y_scale: np.ndarray,
    y_zero: np.ndarray,
) -> Outputs:
    del node
    product = matmul(_centred(a, _per_row(a_zero)), _centred(b, b_zero))
    factor = _per_row(a_scale) * b_scale / y_scale
    return (_requantized(product, factor, y_zero),)


def _requantized(total: np.ndarray, factor: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """Scale an integer sum in float32, as runtimes do: the precision decides how ties round."""
    scaled = np.rint(total.astype(np.float32) * factor.astype(np.float32))
    return saturate(scaled.astype(np.float64) + zero.astype(np.float64), zero.dtype)


def _per_filter(parameter: np.ndarray, rank: int) -> np.ndarray:
    return parameter.reshape((-1,) + (1,) * (rank - 1)) if parameter.ndim == 1 else parameter


def _conv_integer(
    node: Node,
    x: np.ndarray,
    w: np.ndarray,
    x_zero: np.ndarray | None = None,
    w_zero: np.ndarray | None = None,
) -> Outputs:
    filter_zero = None if w_zero is None else _per_filter(w_zero, w.ndim)
    result = convolve(node, _centred(x, x_zero), _centred(w, filter_zero))
    return (result.astype(np.int32),)


def _qlinear_conv(
    node: Node,
    x: np.ndarray,
    x_scale: np.ndarray,
    x_zero: np.ndarray,
    w: np.ndarray,
    w_scale: np.ndarray,
    w_zero: np.ndarray,
    y_scale: np.ndarray,
    y_zero: np.ndarray,
    bias: np.ndarray | None = None,
) -> Outputs:
    total = convolve(node, _centred(x, x_zero), _centred(w, _per_filter(w_zero, w.ndim)), bias)
    factor = x_scale * w_scale / y_scale
    return (_requantized(total, _per_filter(factor, x.ndim - 1), y_zero),)


OPS: Operations = {
    ("", "QuantizeLinear"): _quantize_linear,
    ("", "DequantizeLinear"): _dequantize_linear,
    ("", "DynamicQuantizeLinear"): _dynamic_quantize_linear,
    ("", "MatMulInteger"): _matmul_integer,
    ("", "QLinearMatMul"): _qlinear_matmul,
    ("", "ConvInteger"): _conv_integer,
    ("", "QLinearConv"): _qlinear_conv,
}
