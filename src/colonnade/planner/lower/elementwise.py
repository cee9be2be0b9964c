"""colonnade.Elementwise: in the layout of its inputs, rows when they do not fit panels."""

from __future__ import annotations

from typing import cast

from colonnade.ir import DType, Node, Program
from colonnade.planner.choice import ROWS, Choice, Lowering, View
from colonnade.planner.lower.program import likely_layout, lower_program


def lower_elementwise(node: Node, view: View) -> Choice | str:
    """A float32 program."""
    if any(view.dtype(value) is not DType.FLOAT32 for value in node.inputs):
        return "an operand is not float32"
    program = cast(Program, node.attrs["program"])
    layout = likely_layout(node.inputs, node.outputs[0], view)
    choice = lower_program(program, node.inputs, node.outputs[0], layout, view)
    if isinstance(choice, str) and layout.is_columns:
        return lower_program(program, node.inputs, node.outputs[0], ROWS, view)
    return choice


LOWERINGS: dict[tuple[str, str], Lowering] = {("colonnade", "Elementwise"): lower_elementwise}
