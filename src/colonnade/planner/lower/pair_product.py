"""Products of two 8-bit activations: QMatMul (reference/quantized_products.py), and attention of
bytes: QAttention (reference/quantized_attention.py)."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from colonnade.ir import BYTE_DEPTH_MAX, DType, Node
from colonnade.planner.choice import (
    BYTE_GROUP,
    Absent,
    Choice,
    In,
    Layout,
    Lowering,
    Operand,
    Out,
    View,
)
from colonnade.planner.lower.attention import last_columns, mask_strides
from colonnade.planner.lower.matmul import batch_offsets
from colonnade.planner.plan import Param

STEP_KINDS = ("requantize", "multiply", "add_mask")
"""By the numbers of ScoreStepKind (native/kernels/pair_product/pair_product.h)."""


def lower_qmatmul(node: Node, view: View) -> Choice | str:
    """QMatMul, row-major; scales and zero points are constant or made by the run."""
    a, b, a_scale, a_zero, b_scale, b_zero, y_scale, y_zero = (*node.inputs, "", "")[:8]
    y = node.outputs[0]
    a_shape, b_shape = view.shape(a), view.shape(b)
    if len(a_shape) < 2 or len(b_shape) < 2:
        return "an operand of fewer than two axes"
    if 0 in a_shape or 0 in b_shape:
        return "no elements"
    m, k, n = a_shape[-2], a_shape[-1], b_shape[-1]
    if k > BYTE_DEPTH_MAX:
        return f"sums of {k} terms"
    batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
    signs = tuple(view.dtype(value) is DType.INT8 for value in (a, b, y))
    params: tuple[Param, ...] = (
        m,
        n,
        k,
        *signs,
        batch_offsets(a_shape, batch),
        batch_offsets(b_shape, batch),
    )
    scalars = (a_scale, a_zero, b_scale, b_zero, y_scale, y_zero)
    operands: tuple[Operand, ...] = (
        In(a),
        In(b),
        *(_scalar(value) for value in scalars),
        Out(y),
    )
    flops = 2 * math.prod(batch) * m * n * k
    return Choice("qmatmul_rows", operands, params, "two activations of 8 bits", flops=flops)


def _scalar(value: str) -> Operand:
    return In(value) if value else Absent()


def lower_qattention(node: Node, view: View) -> Choice | str:
    """QAttention(q, k, v, mask?), features last, in byte columns."""
    q, k, v, mask = (*node.inputs, "")[:4]
    y = node.outputs[0]
    batch, heads, kv_heads = (
        _integer(node, name) for name in ("batch", "num_heads", "kv_num_heads")
    )
    queries, keys = (math.prod(view.shape(value)[:-1]) // batch for value in (q, k))
    depth, value_depth = view.shape(q)[-1] // heads, view.shape(y)[-1] // heads
    if depth % BYTE_GROUP or value_depth % BYTE_GROUP:
        return f"heads of {depth} and {value_depth} features, which are not whole groups of four"
    if max(keys, depth) > BYTE_DEPTH_MAX:
        return f"sums of {max(keys, depth)} terms"
    strides = mask_strides(view.shape(mask) if mask else (), (batch, heads, queries, keys))
    if isinstance(strides, str):
        return strides
    zeros = tuple(_integer(node, f"{name}_zero") for name in ("q", "k", "v"))
    params: tuple[Param, ...] = (
        batch, heads, kv_heads, queries, keys, depth, value_depth, *zeros,
        _product_scale(node, "q", "k"), *_steps(node), bool(node.attrs["zero_nan_rows"]),
        *_border(node, "weight"), *_border(node, "probability"),
        _product_scale(node, "probability", "v"), *_border(node, "y"), *strides,
    )  # fmt: skip
    operands: tuple[Operand, ...] = (
        *(last_columns(value, view) for value in (q, k, v)), In(mask) if mask else Absent(),
        Out(y, Layout(len(view.shape(y)) - 1)),
    )  # fmt: skip
    why = f"{heads} heads of {depth}, {queries} queries, {keys} keys, in 8 bits"
    flops = 2 * batch * heads * queries * keys * (depth + value_depth)
    return Choice("qattention", operands, params, why, flops=flops)


def _integer(node: Node, name: str) -> int:
    return cast(int, node.attrs[name])


def _product_scale(node: Node, a: str, b: str) -> float:
    """In float32, as the graph multiplies them."""
    scales = (np.float32(cast(float, node.attrs[f"{name}_scale"])) for name in (a, b))
    return float(math.prod(scales, start=np.float32(1)))


def _steps(node: Node) -> tuple[Param, ...]:
    """Their number, then kind, value and zero point of each."""
    kinds = [STEP_KINDS.index(kind) for kind in cast("tuple[str, ...]", node.attrs["steps"])]
    values = cast("tuple[float, ...]", node.attrs["step_values"])
    zeros = cast("tuple[int, ...]", node.attrs["step_zeros"])
    steps = zip(kinds, values, zeros, strict=True)
    return (len(kinds), *(number for step in steps for number in step))


def _border(node: Node, name: str) -> tuple[Param, ...]:
    """Whether it is there, scale, zero point."""
    if f"{name}_scale" not in node.attrs:
        return (False, 0.0, 0)
    return (True, float(cast(float, node.attrs[f"{name}_scale"])), _integer(node, f"{name}_zero"))


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("colonnade", "QMatMul"): lower_qmatmul,
    ("colonnade", "QAttention"): lower_qattention,
}
