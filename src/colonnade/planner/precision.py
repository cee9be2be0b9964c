"""Whether a product of 8 bits runs faster in float32: measured where the target has a tuner.

Compared are two graphs that make the same bytes from the same bytes (passes/widen_products.py): one
kernel on 8 bits against the float32 kernel with the borders around it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

from colonnade.ir import Graph, Node, Program, is_static
from colonnade.planner.choice import Alias, Const, Fed, Layout, Made, Trial
from colonnade.planner.cost import (
    BYTE_SPEED,
    FORM_BIAS,
    FORM_DOUBT,
    MOVED_COST,
    ROWS_COST,
    VECTOR_LANES,
)
from colonnade.planner.lower.byte_product import find_fours
from colonnade.planner.lower.product import bucket
from colonnade.planner.lower.sparse import TRIAL_PANELS, find_sparsity
from colonnade.planner.plan import Call
from colonnade.planner.select import Selection, Selector, Target, decide

FORMS = "8-bit|float32"
GEOMETRY = ("group", "strides", "dilations", "pads", "auto_pad")
FLOAT_PRODUCTS = ("matmul_columns", "sparse_columns", "conv", "sparse_conv", "depthwise")
BYTE_PRODUCTS = ("qmatmul_columns", "qsparse_columns", "qconv", "qsparse_conv", "qdepthwise")

Lead = tuple[int, ...]
"""Axes before the features: images of a convolution, all that makes columns of a product."""


def prefer_float32(eight: Graph, wide: Graph, target: Target) -> str:
    """Why the graph `wide` is to replace `eight`, in words; "" where it is not.

    `eight` holds one QLinear or QConv, `wide` the same in float32.
    """
    alone = replace(target, threads=1)
    node = eight.nodes[0]
    x, y = (eight.shape(value) for value in (node.inputs[0], node.outputs[0]))
    assert is_static(x) and is_static(y)
    axis = 1 if node.op == "QConv" else len(x) - 1
    old = x[:axis]
    new = _trial_lead(old, math.prod(y) // y[axis], target.panel)
    graphs = [_resized(graph, old, new, len(x)) for graph in (eight, wide)]
    forms = [_select(graph, alone, axis) for graph in graphs]
    if forms[0] is None or forms[1] is None:
        return ""
    costs = [_cost(form, target) for form in forms if form is not None]
    expected = costs[0] / costs[1]
    if target.tuner is None:
        return f"expected {expected:.1f}x the 8-bit kernel" if expected > FORM_DOUBT else ""
    if expected * FORM_DOUBT < 1.0:
        return ""
    trials = [_trial(form) for form in forms if form is not None]
    seconds = target.tuner.time(_key(graphs[0], node), lambda: trials)
    if seconds is None or seconds[0] / seconds[1] <= FORM_BIAS:
        return ""
    return f"measured {seconds[0] / seconds[1]:.1f}x the 8-bit kernel, borders included"


@dataclass(frozen=True)
class _Form:
    """Calls of one graph, and the columns of their panels."""

    selection: Selection
    columns: int


def _select(graph: Graph, target: Target, axis: int) -> _Form | None:
    """Kernels for the graph's nodes; its activations come in columns, with features at `axis`."""
    selector = Selector(graph, target, {})
    for value in graph.inputs:
        if len(selector.view.shape(value)) > axis:
            selector.give(value, Layout(axis))
    for node in graph.nodes:
        decision = decide(node, selector.view)
        if isinstance(decision, str | Alias):
            return None
        selector.add(node, decision)
    shape = selector.view.shape(graph.outputs[0])
    return _Form(selector.selection, math.prod(shape) // shape[axis])


def _resized(graph: Graph, old: Lead, new: Lead, rank: int) -> Graph:
    """The graph with fewer images, or columns, of all activations."""
    types = {
        value: replace(known, shape=(*new, *known.shape[len(old) :]))
        if known.shape is not None
        and len(known.shape) == rank
        and known.shape[: len(old)] == old
        and value not in graph.constants
        else known
        for value, known in graph.types.items()
    }
    return graph.with_changes(types=types)


def _trial_lead(old: Lead, columns: int, panel: int) -> Lead:
    """Leading axes, cut from the first one on, so that few of `columns` are left."""
    new, most = list(old), TRIAL_PANELS * panel
    for axis, extent in enumerate(old):
        new[axis] = min(extent, max(1, most * extent // columns))
        columns = columns // extent * new[axis]
    return tuple(new)


def _cost(form: _Form, target: Target) -> float:
    """About the time of the calls, in units of a float32 operation of the dense kernel."""
    lanes = VECTOR_LANES[target.isa]
    filled = -(-form.columns // lanes) * lanes / form.columns
    total = 0.0
    for call in form.selection.calls:
        choice = call.choice
        if choice.kernel == "matmul_rows":
            total += ROWS_COST * choice.flops
        elif choice.kernel in FLOAT_PRODUCTS:
            total += choice.flops * choice.work_share * filled
        elif choice.kernel in BYTE_PRODUCTS:
            total += choice.flops * choice.work_share * filled / BYTE_SPEED[target.isa]
        else:
            storages = [form.selection.storages[o] for o in call.operands if isinstance(o, int)]
            total += MOVED_COST * sum(storage.nbytes for storage in storages)
    return total


def _trial(form: _Form) -> Trial:
    """All calls, on numbers that mean nothing."""
    storages, calls = form.selection.storages, form.selection.calls
    written = frozenset().union(*(call.writes for call in calls))
    operands: list[Fed | Made | Const] = [
        (Made if i in written else Fed)(storage.nbytes) for i, storage in enumerate(storages)
    ]
    made: list[Call] = []
    for call in calls:
        numbers: list[int] = []
        for operand in call.operands:
            if isinstance(operand, int):
                numbers.append(operand)
            elif operand is None:
                numbers.append(-1)
            else:
                assert isinstance(operand, Const)
                numbers.append(len(operands))
                operands.append(operand)
        made.append(Call(call.choice.kernel, tuple(numbers), call.choice.params, "trial"))
    return Trial(tuple(operands), tuple(made))


def _key(graph: Graph, node: Node) -> str:
    """What is measured, without the layer's name."""
    weights = graph.constants[node.inputs[1]]
    rows = weights.reshape(len(weights), weights.shape[1], -1)
    shapes = [graph.shape(value) or () for value in (node.inputs[0], node.outputs[0])]
    what = [node.op, *(_joined(shape) for shape in (*shapes, weights.shape))]
    what += [f"{name}{_joined(node.attrs[name])}" for name in GEOMETRY if name in node.attrs]
    what += [f"s{bucket(find_sparsity(weights))}", f"f{bucket(1.0 - find_fours(rows))}"]
    program = cast(Program, node.attrs.get("epilogue", Program(1)))
    what += [instruction.op for instruction in program.instructions]
    return " ".join((*what, graph.dtype(node.outputs[0]).value, FORMS))


def _joined(numbers: object) -> str:
    return "x".join(map(str, numbers)) if isinstance(numbers, tuple) else str(numbers)
