"""Normalisation: over features in the column layout, over groups of channels."""

from __future__ import annotations

import math
from typing import cast

from colonnade.ir import DType, Node
from colonnade.planner.choice import (
    ROWS,
    Absent,
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

CHANNELS = Layout(1)
_KINDS = {"LayerNorm": 0, "RMSNorm": 1}
COLUMNS_MIN = 16
"""Columns below which panels would be mostly empty."""


def lower_norm(node: Node, view: View) -> Choice | str:
    """colonnade.LayerNorm and RMSNorm (x, scale, bias?, residual?) over the last axis."""
    x, y = node.inputs[0], node.outputs[0]
    shape = view.shape(x)
    if view.dtype(x) is not DType.FLOAT32 or 0 in shape:
        return "normalisation of other than float32 elements"
    rows, features = math.prod(shape[:-1]), shape[-1]
    layout = Layout(len(shape) - 1) if rows >= COLUMNS_MIN else ROWS
    panels = -(-rows // view.panel)
    extents = (panels, features, view.panel) if layout.is_columns else (rows, features, 1)
    inputs = (*node.inputs, "", "")[:4]
    residual: Operand = In(inputs[3], layout) if inputs[3] else Absent()
    total = node.outputs[1] if len(node.outputs) > 1 else ""
    operands: tuple[Operand, ...] = (
        In(x, layout), float_operand(inputs[1], view), float_operand(inputs[2], view), residual,
        Out(y, layout), Out(total, layout) if total else Absent(),
    )  # fmt: skip
    epsilon = float(cast(float, node.attrs.get("epsilon", 1e-5)))
    params = (*extents, _KINDS[node.op], epsilon, layout.is_columns)
    why = f"over {features} features" + (", residual inside" if inputs[3] else "")
    return Choice(
        "norm", operands, params, why, owns_columns=layout.is_columns, panels=panels,
        flops=8 * math.prod(shape), in_place=(0, 4),
        striped=Striped(params) if layout.is_columns else None,
    )  # fmt: skip


def lower_group_norm(node: Node, view: View) -> Choice | str:
    """InstanceNormalization, GroupNormalization (opset 21: scale and bias by channel)."""
    x, scale, bias = node.inputs
    shape = view.shape(x)
    if view.dtype(x) is not DType.FLOAT32 or 0 in shape or len(shape) < 3:
        return "group normalisation of other than float32 images"
    if view.shape(scale) != (shape[1],):
        return "scale and bias by group"
    groups = shape[1]
    if node.op == "GroupNormalization":
        groups = cast(int, node.attrs["num_groups"])
    layout = view.layout(x) if view.layout(x) == CHANNELS else ROWS
    epsilon = float(cast(float, node.attrs.get("epsilon", 1e-5)))
    lanes = view.panel if layout.is_columns else 0
    params = (shape[0], shape[1], math.prod(shape[2:]), groups, epsilon, lanes)
    operands = (
        In(x, layout), float_operand(scale, view), float_operand(bias, view),
        Out(node.outputs[0], layout),
    )  # fmt: skip
    why = f"{groups} groups of {shape[1] // groups} channels"
    return Choice("group_norm", operands, params, why, flops=8 * math.prod(shape))


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("colonnade", "LayerNorm"): lower_norm,
    ("colonnade", "RMSNorm"): lower_norm,
    ("", "InstanceNormalization"): lower_group_norm,
    ("", "GroupNormalization"): lower_group_norm,
}
