"""Sums and products of two tensors of 8 bits become one operator on integers.

QuantizeLinear(clamp(DequantizeLinear(a) + DequantizeLinear(b))) -> colonnade.QBinary, which computes
just that (reference/quantized_products.py) without float32 tensors in between: residual connections.
A product too, and b may have one value for each channel: squeeze and excite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
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
    """Of two activations of one scale each, read by nobody else."""
    for node in graph.nodes:
        program = graph.producer.get(node.inputs[0]) if is_quantize(node) else None
        if program is None or not is_elementwise(program):
            continue
        if graph.sole_consumer(program.outputs[0]) is not node or len(program.inputs) != 2:
            continue
        operation = _find_operation(cast(Program, program.attrs["program"]))
        found = _find_operands(graph, program, node)
        if operation is not None and found is not None:
            yield _patch(graph, program, node, found, operation)


def _find_operands(graph: Graph, program: Node, node: Node) -> list[Quantized] | None:
    """a, b and the result: a as the result is shaped, b too or with one value a channel."""
    sources = [find_dequantized(graph, value) for value in program.inputs]
    target = read_parameters(graph, node.outputs[0], node)
    shape = graph.shape(node.outputs[0])
    found = [source for source in (*sources, target) if source is not None and source.axis is None]
    if len(found) < 3 or not is_static(shape) or not shape or 0 in shape:
        return None
    if not all(_has_known_zero(graph, source) for source in found):
        return None
    a, b, y = found
    if graph.shape(a.value) != shape:
        a, b = b, a
    by_channel = (*shape[:2], *(1,) * (len(shape) - 2))
    fits = graph.shape(b.value) in (shape, by_channel)
    return [a, b, y] if graph.shape(a.value) == shape and fits else None


def _has_known_zero(graph: Graph, source: Quantized) -> bool:
    """Columns hold int8 as uint8: its zero point moves with it, so it must be a constant."""
    is_signed = graph.dtype(source.value) is DType.INT8
    return not is_signed or not source.zero or source.zero in graph.constants


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
    found: list[Quantized],
    operation: tuple[str, float, float],
) -> Patch:
    made = Construction(graph, node, "binary")
    a, b, y = (add_operand(made, source, graph.dtype(source.value)) for source in found)
    inputs = (found[0].value, *a, found[1].value, *b, *y)
    attrs: dict[str, AttrValue] = dict(zip(("op", "lo", "hi"), operation, strict=True))
    made.add(Node("QBinary", inputs, node.outputs[:1], attrs, node.name, "colonnade", 1))
    return made.patch(also=(program,))
