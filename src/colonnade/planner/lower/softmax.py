"""Softmax and LogSoftmax over one axis: over features where those are in columns, else on rows."""

from __future__ import annotations

import math
from typing import cast

from colonnade.ir import DType, Node
from colonnade.planner.choice import ROWS, Choice, In, Lowering, Out, Striped, View


def lower_softmax(node: Node, view: View) -> Choice | str:
    """Opset 13 and later: one axis. Before: all axes from `axis` on, as one."""
    x, y = node.inputs[0], node.outputs[0]
    shape = view.shape(x)
    if view.dtype(x) is not DType.FLOAT32 or 0 in shape:
        return "softmax of other than float32 elements"
    if not shape:
        return "softmax of a scalar"
    is_new = node.version >= 13
    axis = cast(int, node.attrs.get("axis", -1 if is_new else 1)) % len(shape)
    is_log = node.op == "LogSoftmax"
    flops = 4 * math.prod(shape)
    layout = view.layout(x)
    if layout.feature_axis == axis and (is_new or axis == len(shape) - 1):
        panels = -(-math.prod(shape) // shape[axis] // view.panel)
        params = (panels, shape[axis], view.panel, is_log, True)
        return Choice(
            "softmax", (In(x, layout), Out(y, layout)), params, "over features", owns_columns=True,
            panels=panels, flops=flops, in_place=(0, 1), striped=Striped(params),
        )  # fmt: skip
    n, inner = (shape[axis], math.prod(shape[axis + 1 :])) if is_new else (
        math.prod(shape[axis:]), 1
    )  # fmt: skip
    params = (math.prod(shape[:axis]), n, inner, is_log, False)
    return Choice(
        "softmax", (In(x, ROWS), Out(y, ROWS)), params, f"over axis {axis}", flops=flops,
        in_place=(0, 1),
    )  # fmt: skip


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("", "Softmax"): lower_softmax,
    ("", "LogSoftmax"): lower_softmax,
}
