"""Our own operators on 8-bit integers: what every producer's quantized layers become.

    acc = sum of (x - x_zero) * (w - w_zero)           an exact integer
    f   = float(acc) * (x_scale * w_scale) + bias      float32; the sum is rounded once (fma)
    y   = f, or QuantizeLinear(f, y_scale, y_zero)     when y_scale is there

| operation | inputs, in order (a name with ? may be absent) |
|---|---|
| QLinear, QConv | x, w, x_scale, x_zero, w_scale, w_zero, bias?, y_scale?, y_zero?, extras... |
| QMatMul | a, b, a_scale, a_zero, b_scale, b_zero, y_scale?, y_zero? |
| QBinary | a, a_scale, a_zero, b, b_scale?, b_zero?, y_scale, y_zero |
| QAveragePool | x, x_scale, x_zero, y_scale, y_zero |
| QTable | x, table |

x, a, b: uint8 or int8, with a scale (float32) and a zero point (of their type) that are scalars.
w: constant int8, [m, k] for QLinear (x is [..., k]), [m, channels / group, kernel...] for QConv,
which has the attributes of Conv and pads with x_zero. w_scale and w_zero: scalars or [m]. bias:
float32 [m]. y_scale, y_zero: scalars, both or none; y has the type of y_zero. QMatMul multiplies
as MatMul does. Scales and zero points of x, a and b may be computed by the graph.

QBinary: QuantizeLinear of a + b or a * b (attribute op: add, mul), dequantized and clamped to its
attributes lo..hi; scales and zero points are scalars. b has the shape of a and y, or one value for
each index of the first two axes: [n, c, 1, ...]. Without a scale it is float32, one value for each
index of the attribute axis.

QAveragePool: AveragePool with its attributes. The sum of x - x_zero is exact; times x_scale / positions,
in float32, it is quantized.

QTable: y[i] = table[x[i]]; the 256 elements of table are in the order of x's type, least first.

acc fits int32 while k <= 33,025: 2^31 / 255^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from colonnade.ir import Node
from colonnade.reference.conv import convolve
from colonnade.reference.fused import with_epilogue
from colonnade.reference.matmul import matmul
from colonnade.reference.operation import Operations, Outputs
from colonnade.reference.pool import sum_windows
from colonnade.reference.precision import narrow, wide
from colonnade.reference.quantize import saturate


def _qlinear(
    node: Node,
    x: np.ndarray,
    w: np.ndarray,
    x_scale: np.ndarray,
    x_zero: np.ndarray,
    w_scale: np.ndarray,
    w_zero: np.ndarray,
    bias: np.ndarray | None = None,
    y_scale: np.ndarray | None = None,
    y_zero: np.ndarray | None = None,
    *extra: np.ndarray | None,
) -> Outputs:
    total = matmul(_centred(x, x_zero), _centred(w, _by_row(w_zero, w.ndim)).T)
    return _finished(node, total, x_scale * w_scale, bias, (y_scale, y_zero), extra)


def _qconv(
    node: Node,
    x: np.ndarray,
    w: np.ndarray,
    x_scale: np.ndarray,
    x_zero: np.ndarray,
    w_scale: np.ndarray,
    w_zero: np.ndarray,
    bias: np.ndarray | None = None,
    y_scale: np.ndarray | None = None,
    y_zero: np.ndarray | None = None,
    *extra: np.ndarray | None,
) -> Outputs:
    total = convolve(node, _centred(x, x_zero), _centred(w, _by_row(w_zero, w.ndim)))
    factor = _by_row(x_scale * w_scale, total.ndim - 1)
    shift = None if bias is None else _by_row(bias, total.ndim - 1)
    return _finished(node, total, factor, shift, (y_scale, y_zero), extra)


def _qmatmul(
    node: Node,
    a: np.ndarray,
    b: np.ndarray,
    a_scale: np.ndarray,
    a_zero: np.ndarray,
    b_scale: np.ndarray,
    b_zero: np.ndarray,
    y_scale: np.ndarray | None = None,
    y_zero: np.ndarray | None = None,
) -> Outputs:
    total = matmul(_centred(a, a_zero), _centred(b, b_zero))
    return _finished(node, total, a_scale * b_scale, None, (y_scale, y_zero), ())


def _qbinary(
    node: Node,
    a: np.ndarray,
    a_scale: np.ndarray,
    a_zero: np.ndarray,
    b: np.ndarray,
    b_scale: np.ndarray | None,
    b_zero: np.ndarray | None,
    y_scale: np.ndarray,
    y_zero: np.ndarray,
) -> Outputs:
    left = narrow(_centred(a, a_zero), np.float32) * a_scale
    if b_scale is None or b_zero is None:
        behind = a.ndim - 1 - cast(int, node.attrs["axis"])
        right = b.reshape((-1,) + (1,) * behind)
    else:
        right = narrow(_centred(b, b_zero), np.float32) * b_scale
    both = left * right if node.attrs["op"] == "mul" else left + right
    lo, hi = (np.float32(cast(float, node.attrs[name])) for name in ("lo", "hi"))
    return (_quantized(np.clip(both, lo, hi), y_scale, y_zero),)


def _qaverage_pool(
    node: Node,
    x: np.ndarray,
    x_scale: np.ndarray,
    x_zero: np.ndarray,
    y_scale: np.ndarray,
    y_zero: np.ndarray,
) -> Outputs:
    sums, positions = sum_windows(node, _centred(x, x_zero))
    factor = x_scale / narrow(positions, np.float32)
    return (_quantized(narrow(sums, np.float32) * factor, y_scale, y_zero),)


def _qtable(node: Node, x: np.ndarray, table: np.ndarray) -> Outputs:
    del node
    first = np.iinfo(x.dtype).min
    return (table[x.astype(np.int64) - first],)


def _quantized(values: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    steps = np.rint(values / scale).astype(np.float64)
    return saturate(steps + zero.astype(np.float64), zero.dtype)


def _centred(x: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """Integers as float64, in which sums of their products are exact."""
    return x.astype(np.float64) - zero.astype(np.float64)


def _by_row(parameter: np.ndarray, rank: int) -> np.ndarray:
    """One value a row along the first of `rank` axes; a scalar as it is."""
    return parameter.reshape((-1,) + (1,) * (rank - 1)) if parameter.ndim else parameter


def _finished(
    node: Node,
    total: np.ndarray,
    factor: np.ndarray,
    bias: np.ndarray | None,
    output: tuple[np.ndarray | None, np.ndarray | None],
    extra: Sequence[np.ndarray | None],
) -> Outputs:
    scaled = wide(narrow(total, np.float32)) * wide(factor)
    result = narrow(scaled if bias is None else scaled + wide(bias), np.float32)
    if "epilogue" in node.attrs:
        (result,) = with_epilogue(node, result, extra)
    y_scale, y_zero = output
    if y_scale is None or y_zero is None:
        return (result,)
    return (_quantized(result, y_scale, y_zero),)


OPS: Operations = {
    ("colonnade", "QLinear"): _qlinear,
    ("colonnade", "QConv"): _qconv,
    ("colonnade", "QMatMul"): _qmatmul,
    ("colonnade", "QBinary"): _qbinary,
    ("colonnade", "QAveragePool"): _qaverage_pool,
    ("colonnade", "QTable"): _qtable,
}
