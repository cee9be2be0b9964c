"""Sums and products of two tensors of 8 bits become one operator on integers.

QuantizeLinear(clamp(DequantizeLinear(a) + DequantizeLinear(b))) -> colonnade.QBinary, which computes
just that (reference/quantized_products.py) without float32 tensors in between: residual connections.
A product too, and b may have one value for each channel (squeeze and excite) or be a float32 constant
with one value for each feature (the bias behind a product that was quantized without it).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from colonnade.ir import AttrValue, DType, Graph, Node, Patch, Program, is_static
from colonnade.passes.construction import Construction
from colonnade.passes.fuse_elementwise import is_elementwise
from colonnade.passes.quantization import (
    Quantized,
    add_operand,
    find_dequantized,
    is_quantize,
    read_parameters,
)


def fuse_quantized_binary(graph: Graph) -> Iterator[Patch]:
    """Of activations of one scale each and the result's shape, read by nobody else."""
    for node in graph.nodes:
        program = graph.producer.get(node.inputs[0]) if is_quantize(node) else None
        if program is None or not is_elementwise(program):
            continue
        if graph.sole_consumer(program.outputs[0]) is not node or len(program.inputs) != 2:
            continue
        operation = _find_operation(cast(Program, program.attrs["program"]))
        target = _find_side(graph, read_parameters(graph, node.outputs[0], node))
        shape = graph.shape(node.outputs[0])
        if operation is None or target is None or not is_static(shape) or not shape or 0 in shape:
            continue
        found = _find_tensors(graph, program, shape) or _find_features(graph, program, shape)
        if found is not None:
            yield _patch(graph, program, node, (*found, target), operation)


def _find_side(graph: Graph, source: Quantized | None) -> Quantized | None:
    """One scale. Columns hold int8 as uint8: its zero point moves with it, so it is a constant."""
    if source is None or source.axis is not None:
        return None
    is_signed = graph.dtype(source.value) is DType.INT8
    known = not is_signed or not source.zero or source.zero in graph.constants
    return source if known else None


def _find_tensors(
    graph: Graph, program: Node, shape: tuple[int, ...]
) -> tuple[Quantized, Quantized] | None:
    """a as the result is shaped, b too or with one value a channel."""
    a, b = (_find_side(graph, find_dequantized(graph, value)) for value in program.inputs)
    if a is None or b is None:
        return None
    if graph.shape(a.value) != shape:
        a, b = b, a
    by_channel = (*shape[:2], *(1,) * (len(shape) - 2))
    fits = graph.shape(b.value) in (shape, by_channel)
    return (a, b) if graph.shape(a.value) == shape and fits else None


@dataclass(frozen=True)
class _Features:
    """A float32 constant with one value for each index of an axis of the result."""

    value: str
    axis: int


def _find_features(
    graph: Graph, program: Node, shape: tuple[int, ...]
) -> tuple[Quantized, _Features] | None:
    """a as the result is shaped, and a constant."""
    for value, other in (program.inputs, program.inputs[::-1]):
        a = _find_side(graph, find_dequantized(graph, value))
        array = graph.constants.get(other)
        if a is None or array is None or graph.shape(a.value) != shape or array.ndim > len(shape):
            continue
        own = (1,) * (len(shape) - array.ndim) + array.shape
        axes = [axis for axis, dim in enumerate(own) if dim > 1]
        if len(axes) == 1 and own[axes[0]] == shape[axes[0]]:
            return a, _Features(other, axes[0])
    return None


def _find_operation(program: Program) -> tuple[str, float, float] | None:
    """add or mul of both inputs, and lo and hi of what clamps it; None for any other program."""
    steps = program.instructions
    if not steps or steps[0].op not in ("add", "mul") or set(steps[0].args) != {0, 1}:
        return None
    if len(steps) == 1:
        return steps[0].op, -math.inf, math.inf
    if len(steps) > 2 or steps[1].args != (2,):
        return None
    if steps[1].op == "relu":
        return steps[0].op, 0.0, math.inf
    return (steps[0].op, steps[1].imm[0], steps[1].imm[1]) if steps[1].op == "clip" else None


def _patch(
    graph: Graph,
    program: Node,
    node: Node,
    found: tuple[Quantized, Quantized | _Features, Quantized],
    operation: tuple[str, float, float],
) -> Patch:
    made = Construction(graph, node, "binary")
    left, right, result = found
    attrs: dict[str, AttrValue] = dict(zip(("op", "lo", "hi"), operation, strict=True))
    a, y = (add_operand(made, side, graph.dtype(side.value)) for side in (left, result))
    if isinstance(right, _Features):
        b = (made.reshape(right.value, (-1,)), "", "")
        attrs["axis"] = right.axis
    else:
        b = (right.value, *add_operand(made, right, graph.dtype(right.value)))
    inputs = (left.value, *a, *b, *y)
    made.add(Node("QBinary", inputs, node.outputs[:1], attrs, node.name, "colonnade", 1))
    return made.patch(also=(program,))
