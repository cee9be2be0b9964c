"""QuantizeLinear and DequantizeLinear of what is in columns."""

from __future__ import annotations

import math

from colonnade.ir import DType, Node
from colonnade.planner.choice import (
    BYTES,
    Choice,
    In,
    Layout,
    Lowering,
    Operand,
    Out,
    Striped,
    View,
)
from colonnade.planner.lower.constants import float_operand
from colonnade.planner.lower.scales import (
    RUN_ZERO,
    default_zero,
    has_run_zero,
    zero_operand,
)


def lower_quantize_columns(node: Node, view: View) -> Choice | str:
    """QuantizeLinear of what is in columns, with one scale."""
    x, y = node.inputs[0], node.outputs[0]
    reason = _refuse_columns(node, view, x, y)
    return reason or _border(node, view, "quantize_columns", view.layout(x))


def lower_dequantize_columns(node: Node, view: View) -> Choice | str:
    """DequantizeLinear of what is in columns, with one scale."""
    x, y = node.inputs[0], node.outputs[0]
    reason = _refuse_columns(node, view, y, x)
    return reason or _border(node, view, "dequantize_columns", view.layout(x))


def _refuse_columns(node: Node, view: View, real: str, integers: str) -> str:
    if not view.layout(node.inputs[0]).is_columns:
        return "not in columns"
    if view.dtype(real) is not DType.FLOAT32 or view.dtype(integers) not in BYTES:
        return f"{view.dtype(integers).value} in columns"
    if math.prod(view.shape(node.inputs[1])) != 1:
        return "a scale for each feature"
    zero = node.inputs[2] if len(node.inputs) > 2 else ""
    return RUN_ZERO if has_run_zero(integers, zero, view) else ""


def _border(node: Node, view: View, kernel: str, layout: Layout) -> Choice:
    x, y = node.inputs[0], node.outputs[0]
    shape, axis = view.shape(x), layout.feature_axis
    assert axis is not None
    columns = math.prod(shape) // shape[axis]
    zero = node.inputs[2] if len(node.inputs) > 2 else ""
    integers = y if kernel == "quantize_columns" else x
    zero_point: Operand = zero_operand(zero, view) if zero else default_zero(view.dtype(integers))
    params = (shape[axis], columns)
    return Choice(
        kernel, (In(x, layout), float_operand(node.inputs[1], view), zero_point, Out(y, layout)), params,
        "per tensor", owns_columns=True, panels=-(-columns // view.panel),
        striped=Striped(params),
    )  # fmt: skip


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("", "QuantizeLinear"): lower_quantize_columns,
    ("", "DequantizeLinear"): lower_dequantize_columns,
}
