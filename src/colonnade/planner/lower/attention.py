"""Fused attention: queries, keys and values as columns, heads as bands of features."""

from __future__ import annotations

import math
from typing import cast

from colonnade.ir import DType, Node
from colonnade.planner.choice import (
    Absent,
    Choice,
    In,
    Layout,
    Lowering,
    Operand,
    Out,
    View,
)


def lower_attention(node: Node, view: View) -> Choice | str:
    """colonnade.Attention(q, k, v, mask?), features last; float32."""
    q, k, v = node.inputs[:3]
    mask = node.inputs[3] if len(node.inputs) > 3 else ""
    if any(view.dtype(value) is not DType.FLOAT32 for value in (q, k, v, mask) if value):
        return "attention on a type other than float32"
    heads = cast(int, node.attrs["num_heads"])
    kv_heads = cast(int, node.attrs["kv_num_heads"])
    y_shape = view.shape(node.outputs[0])
    batch = cast(int, node.attrs["batch"])
    queries = math.prod(view.shape(q)[:-1]) // batch
    keys = math.prod(view.shape(k)[:-1]) // batch
    depth = view.shape(q)[-1] // heads
    value_depth = y_shape[-1] // heads
    strides = mask_strides(view.shape(mask) if mask else (), (batch, heads, queries, keys))
    if isinstance(strides, str):
        return strides
    bands = tuple(
        number
        for features in (heads * depth, kv_heads * depth, kv_heads * value_depth)
        for number in (features, 0)
    )
    params = (
        batch, heads, kv_heads, queries, keys, depth, value_depth,
        float(cast(float, node.attrs["scale"])), bool(node.attrs.get("causal", False)), 0,
        bool(node.attrs.get("zero_nan_rows", False)), *bands, heads * value_depth, 0, *strides,
    )  # fmt: skip
    mask_operand: Operand = In(mask) if mask else Absent()
    operands = (
        last_columns(q, view), last_columns(k, view), last_columns(v, view), mask_operand,
        Out(node.outputs[0], Layout(len(y_shape) - 1)),
    )  # fmt: skip
    why = f"{heads} heads of {depth}, {queries} queries, {keys} keys"
    flops = 2 * batch * heads * queries * keys * (depth + value_depth)
    return Choice("attention", operands, params, why, flops=flops)


def last_columns(value: str, view: View) -> In:
    """The value in columns, features last."""
    return In(value, Layout(len(view.shape(value)) - 1))


def mask_strides(shape: tuple[int, ...], full: tuple[int, ...]) -> tuple[int, ...] | str:
    """Strides of a mask broadcast to [batch, heads, queries, keys]."""
    padded = (1,) * (4 - len(shape)) + shape
    if len(shape) > 4 or any(dim not in (1, size) for dim, size in zip(padded, full, strict=True)):
        return f"mask {list(shape)} does not broadcast to {list(full)}"
    steps = [math.prod(padded[i + 1 :]) for i in range(4)]
    return tuple(0 if dim == 1 else step for dim, step in zip(padded, steps, strict=True))


LOWERINGS: dict[tuple[str, str], Lowering] = {("colonnade", "Attention"): lower_attention}
