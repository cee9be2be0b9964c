"""The sum of two tensors of 8 bits becomes one operator on integers: residual connections.

QuantizeLinear(clamp(DequantizeLinear(a) + DequantizeLinear(b))) -> colonnade.QAdd, which computes just
that (reference/quantized_products.py) without float32 tensors in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

from colonnade.ir import DType, Graph, Node, Patch, Program
from colonnade.passes.construction import Construction
from colonnade.passes.fuse_elementwise import is_elementwise
from colonnade.passes.quantization import (
    Quantized,
    add_operand,
    find_dequantized,
    is_quantize,
    read_parameters,
)


def fuse_quantized_sum(graph: Graph) -> Iterator[Patch]:
    """Sums of two activations of one scale each and the output's shape, read by nobody else."""
    for node in graph.nodes:
        total = graph.producer.get(node.inputs[0]) if is_quantize(node) else None
        if total is None or not is_elementwise(total):
            continue
        if graph.sole_consumer(total.outputs[0]) is not node or len(total.inputs) != 2:
            continue
        limits = _find_clamp(cast(Program, total.attrs["program"]))
        sources = [find_dequantized(graph, value) for value in total.inputs]
        target = read_parameters(graph, node.outputs[0], node)
        found = [*sources, target]
        if limits is None or any(source is None or source.axis is not None for source in found):
            continue
        shape = graph.shape(node.outputs[0])
        known = all(source is None or _has_known_zero(graph, source) for source in found)
        if not shape or 0 in shape or not known:
            continue
        if any(source is not None and graph.shape(source.value) != shape for source in sources):
            continue
        yield _patch(graph, total, node, [s for s in found if s is not None], limits)


def _has_known_zero(graph: Graph, source: Quantized) -> bool:
    """Columns hold int8 as uint8: its zero point moves with it, so it must be a constant."""
    is_signed = graph.dtype(source.value) is DType.INT8
    return not is_signed or not source.zero or source.zero in graph.constants


def _find_clamp(program: Program) -> tuple[float, float] | None:
    """lo and hi of a sum of both inputs, clamped or not; None for any other program."""
    steps = program.instructions
    if not steps or steps[0].op != "add" or set(steps[0].args) != {0, 1}:
        return None
    if len(steps) == 1:
        return -math.inf, math.inf
    if len(steps) > 2 or steps[1].args != (2,):
        return None
    if steps[1].op == "relu":
        return 0.0, math.inf
    return (steps[1].imm[0], steps[1].imm[1]) if steps[1].op == "clip" else None


def _patch(
    graph: Graph, total: Node, node: Node, found: list[Quantized], limits: tuple[float, float]
) -> Patch:
    made = Construction(graph, node, "sum")
    a, b, y = (add_operand(made, source, graph.dtype(source.value)) for source in found)
    inputs = (found[0].value, *a, found[1].value, *b, *y)
    attrs = {"lo": limits[0], "hi": limits[1]}
    made.add(Node("QAdd", inputs, node.outputs[:1], attrs, node.name, "colonnade", 1))
    return made.patch(also=(total,))
