"""8-bit tensors beside products: pooling, tables, sums and products of two, on bytes throughout."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from colonnade.ir import DType, Node
from colonnade.planner.choice import (
    BYTES,
    Absent,
    Choice,
    Const,
    In,
    Layout,
    Lowering,
    Operand,
    Out,
    Striped,
    View,
)
from colonnade.planner.lower.constants import float_operand
from colonnade.planner.lower.pool import CHANNELS, PoolWindow, read_window
from colonnade.planner.lower.scales import RUN_ZERO, has_run_zero, zero_operand

TABLE_SIZE = 256
WINDOW_MAX = 257
"""Positions of an averaged window whose sum fits 16 bits."""
SAMPLE_MAX = 1 << 23
"""Pixels of an image whose sum fits 32 bits."""
HALF = TABLE_SIZE // 2


def lower_byte_max_pool(node: Node, view: View) -> Choice | str:
    """MaxPool of 8 bits, as it is: int8 keeps its order as uint8, 128 more."""
    x, y = node.inputs[0], node.outputs[0]
    if view.dtype(x) not in BYTES:
        return f"element type {view.dtype(x).value}"
    window = read_window(node, view)
    if isinstance(window, str):
        return window
    operands = (In(x, CHANNELS), Absent(), Absent(), Absent(), Absent(), Out(y, CHANNELS))
    return _pool(window, operands)


def lower_qaverage_pool(node: Node, view: View) -> Choice | str:
    """QAveragePool: over whole images, or over windows."""
    x, x_scale, x_zero, y_scale, y_zero = node.inputs
    y = node.outputs[0]
    if has_run_zero(x, x_zero, view) or has_run_zero(y, y_zero, view):
        return RUN_ZERO
    window = read_window(node, view)
    if isinstance(window, str):
        return window
    operands = (
        In(x, CHANNELS), float_operand(x_scale, view), zero_operand(x_zero, view),
        float_operand(y_scale, view), zero_operand(y_zero, view), Out(y, CHANNELS),
    )  # fmt: skip
    shape = view.shape(x)
    inner = math.prod(shape[2:])
    is_whole = math.prod(view.shape(y)[2:]) == 1 and not any(window.params[14:])
    kernel = cast(tuple[int, ...], node.attrs["kernel_shape"])
    if is_whole and kernel == shape[2:] and inner <= SAMPLE_MAX:
        params = (shape[0], shape[1], inner)
        return Choice("bytes_mean", operands, params, "over each sample", flops=math.prod(shape))
    if math.prod(kernel) > WINDOW_MAX:
        return f"an average of {math.prod(kernel)} positions"
    return _pool(window, operands)


def _pool(window: PoolWindow, operands: tuple[Operand, ...]) -> Choice:
    return Choice(
        "bytes_pool", operands, (*window.params, False), f"{window.what} of bytes",
        flops=window.flops, striped=Striped((*window.params, True), window.reach),
    )  # fmt: skip


def lower_qtable(node: Node, view: View) -> Choice | str:
    """QTable, in the layout of its operand."""
    x, y = node.inputs[0], node.outputs[0]
    table = view.constant(node.inputs[1])
    shape = view.shape(x)
    if table is None or 0 in shape:
        return "the table is not constant, or no elements"
    layout = view.layout(x)
    packed = _packed_table(table, view.dtype(x), layout)
    operands = (In(x, layout), packed, Out(y, layout))
    why = "a table of 256 bytes"
    if layout.feature_axis is None:
        return Choice("bytes_table", operands, (math.prod(shape),), why, in_place=(0, 2))
    features = shape[layout.feature_axis]
    columns = math.prod(shape) // features
    params = (features, columns)
    return Choice(
        "bytes_table_columns", operands, params, why, owns_columns=True,
        panels=-(-columns // view.panel), in_place=(0, 2), striped=Striped(params),
    )  # fmt: skip


def _packed_table(table: np.ndarray, dtype: DType, layout: Layout) -> Const:
    """Indexed by bytes and made of bytes as the layout holds them."""
    made = table.reshape(-1).view(np.uint8)
    if layout.is_columns:
        # In order already: columns hold int8 as uint8, 128 more.
        made = made ^ np.uint8(HALF) if table.dtype == np.int8 else made
    elif dtype is DType.INT8:
        made = np.roll(made, HALF)
    packed = np.ascontiguousarray(made)
    return Const(("table", packed.tobytes()), lambda: packed)


def lower_qbinary(node: Node, view: View) -> Choice | str:
    """QBinary, in the columns of either operand; on the axis that b has one value a feature for."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
    y = node.outputs[0]
    shape = view.shape(y)
    if not shape or 0 in shape:
        return "no axes or no elements"
    if any(has_run_zero(v, zero, view) for v, zero in ((a, a_zero), (b, b_zero), (y, y_zero))):
        return RUN_ZERO
    is_spread = bool(b_scale) and view.shape(b) != shape
    layout = _binary_layout(node, view, is_spread=is_spread)
    assert layout.feature_axis is not None
    features = shape[layout.feature_axis]
    columns = math.prod(shape) // features
    inner = math.prod(shape[2:]) if is_spread else 0
    ends = tuple(float(cast(float, node.attrs[name])) for name in ("lo", "hi"))
    operation = cast(str, node.attrs["op"])
    params = (features, columns, inner, operation == "mul", *ends)
    right: Operand = In(b, layout) if b_scale else float_operand(b, view)
    operands: tuple[Operand, ...] = (
        In(a, layout), float_operand(a_scale, view), zero_operand(a_zero, view),
        right, float_operand(b_scale, view), zero_operand(b_zero, view),
        float_operand(y_scale, view), zero_operand(y_zero, view), Out(y, layout),
    )  # fmt: skip
    what = "two tensors of 8 bits" if b_scale else "8 bits and a value a feature"
    return Choice(
        "bytes_binary", operands, params, f"{operation} of {what}" + ", by channel" * is_spread,
        owns_columns=not is_spread, panels=-(-columns // view.panel), flops=math.prod(shape),
        striped=None if is_spread else Striped(params),
    )  # fmt: skip


def _binary_layout(node: Node, view: View, *, is_spread: bool) -> Layout:
    if is_spread:
        return CHANNELS
    if "axis" in node.attrs:
        return Layout(cast(int, node.attrs["axis"]))
    layouts = [view.layout(value) for value in (node.inputs[0], node.inputs[3])]
    rank = len(view.shape(node.outputs[0]))
    likely = Layout(1 if rank > 2 else rank - 1)
    return next((layout for layout in layouts if layout.is_columns), likely)


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("", "MaxPool"): lower_byte_max_pool,
    ("colonnade", "QAveragePool"): lower_qaverage_pool,
    ("colonnade", "QTable"): lower_qtable,
    ("colonnade", "QBinary"): lower_qbinary,
}
