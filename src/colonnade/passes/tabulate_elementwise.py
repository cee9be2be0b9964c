"""Whatever is done to one byte becomes a table of 256.

QuantizeLinear(program(DequantizeLinear(x))) -> colonnade.QTable(x, table), and so does a change of
scale, QuantizeLinear(DequantizeLinear(x)). Exact: the table is the very nodes that it replaces, on
all integers in order; they read constants only, and fold_tables runs them. A program may read x and
tables of x (x * sigmoid(x)): then the table is of x.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from colonnade.ir import Graph, Node, Patch, Shape, is_static
from colonnade.passes.construction import Construction
from colonnade.passes.fuse_elementwise import is_elementwise
from colonnade.passes.quantization import (
    Quantized,
    find_dequantized,
    is_quantize,
    read_parameters,
)

INTEGERS = 256


def tabulate_elementwise(graph: Graph) -> Iterator[Patch]:
    """Of one activation, per tensor with constant parameters; other operands are single constants."""
    for node in graph.nodes:
        if (
            not is_quantize(node)
            or not _is_per_tensor(graph, node)
            or _is_read_as_table(graph, node)
        ):
            continue
        maker = graph.producer.get(node.inputs[0])
        if maker is None:
            continue
        if is_elementwise(maker) and graph.sole_consumer(maker.outputs[0]) is node:
            operands = maker.inputs
        elif find_dequantized(graph, node.inputs[0]) is not None:
            operands = node.inputs[:1]
        else:
            continue
        source = _find_source(graph, operands, graph.shape(node.outputs[0]))
        if source is not None:
            yield _patch(graph, source, maker, node)


def is_table(node: Node | None) -> bool:
    """True for colonnade.QTable."""
    return node is not None and node.domain == "colonnade" and node.op == "QTable"


def _is_read_as_table(graph: Graph, node: Node) -> bool:
    """True for what this pass has made."""
    readers = graph.consumers.get(node.outputs[0], ())
    return any(is_table(reader) and reader.inputs[1] == node.outputs[0] for reader in readers)


def _is_per_tensor(graph: Graph, node: Node) -> bool:
    target = read_parameters(graph, node.outputs[0], node)
    return target is not None and _has_constant_scale(graph, target)


def _has_constant_scale(graph: Graph, source: Quantized) -> bool:
    known = source.scale in graph.constants and (not source.zero or source.zero in graph.constants)
    return known and source.axis is None


def _find_source(graph: Graph, operands: tuple[str, ...], shape: Shape | None) -> str | None:
    """The one tensor of bytes, shaped as the result, that all operands are functions of."""
    found = set()
    for value in operands:
        if value in graph.constants and graph.constants[value].size == 1:
            continue
        source = find_dequantized(graph, value)
        if source is None or not _has_constant_scale(graph, source):
            return None
        maker = graph.producer.get(source.value)
        found.add(maker.inputs[0] if maker is not None and is_table(maker) else source.value)
    if len(found) != 1:
        return None
    (value,) = found
    is_whole = graph.shape(value) == shape and is_static(shape)
    return value if is_whole and value not in graph.constants else None


def _patch(graph: Graph, source: str, maker: Node, node: Node) -> Patch:
    """What makes the result, on every integer instead of on `source`, then the table of it."""
    made = Construction(graph, node, "table")
    limits = np.iinfo(graph.dtype(source).numpy)  # type: ignore[type-var]  # 8 bits
    integers = made.constant(np.arange(limits.min, limits.max + 1).astype(limits.dtype))
    if is_elementwise(maker):
        operands = [_operand(graph, made, value, source, integers) for value in maker.inputs]
        real = _again(made, maker, operands)
    else:
        real = _operand(graph, made, node.inputs[0], source, integers)
    table = _again(made, node, [real, *node.inputs[1:]])
    inputs, outputs = (source, table), node.outputs[:1]
    made.add(Node("QTable", inputs, outputs, {}, node.name or outputs[0], "colonnade", 1))
    return made.patch(also=(maker,) if is_elementwise(maker) else ())


def _operand(graph: Graph, made: Construction, value: str, source: str, integers: str) -> str:
    """The program's operand for every integer: a constant, or they dequantized, through a table."""
    if value in graph.constants:
        return made.reshape(value, ())
    dequantize = graph.producer[value]
    table = graph.producer.get(dequantize.inputs[0])
    is_direct = dequantize.inputs[0] == source or table is None
    read = integers if is_direct or table is None else table.inputs[1]
    return _again(made, dequantize, [read, *dequantize.inputs[1:]])


def _again(made: Construction, node: Node, inputs: Sequence[str]) -> str:
    """The node on other inputs, of 256 elements."""
    return made.copy(node, inputs, (INTEGERS,))
