"""QuantizeLinear moves in front of reshapes and transposes, up to the product before them.

The product can then make 8 bits itself. It also moves in front of a Concat of integers and products,
which then joins bytes. Exact: every element is quantized as before, only earlier.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from colonnade.ir import Graph, Node, Patch, TensorType
from colonnade.passes.quantization import (
    find_dequantized,
    is_product,
    is_quantize,
    output_of,
    read_parameters,
)
from colonnade.passes.trace_moves import is_move


def move_quantize(graph: Graph) -> Iterator[Patch]:
    """QuantizeLinear per tensor of a moved product that nobody else reads."""
    for node in graph.nodes:
        move = graph.producer.get(node.inputs[0]) if is_quantize(node) else None
        if move is None or graph.sole_consumer(move.outputs[0]) is not node:
            continue
        target = read_parameters(graph, node.outputs[0], node)
        if target is None or target.axis is not None:
            continue
        if _leads_to_product(graph, move):
            yield _patch(graph, move, node)
        elif not move.domain and move.op == "Concat":
            if all(_makes_integers(graph, move, value) for value in move.inputs):
                yield _patch_parts(graph, move, node)


def _leads_to_product(graph: Graph, move: Node | None) -> bool:
    """True for moves, each read once, of a float32 product."""
    while move is not None and is_move(move) and move.op != "Expand":
        if graph.sole_consumer(move.inputs[0]) is not move:
            return False
        move = graph.producer.get(move.inputs[0])
        if move is not None and is_product(move):
            return output_of(move) is None
    return False


def _makes_integers(graph: Graph, concat: Node, value: str) -> bool:
    """True for dequantized integers, and for products that can make some."""
    if find_dequantized(graph, value) is not None:
        return True
    maker = graph.producer.get(value)
    if graph.sole_consumer(value) is not concat or maker is None:
        return False
    return (is_product(maker) and output_of(maker) is None) or _leads_to_product(graph, maker)


def _patch_parts(graph: Graph, concat: Node, node: Node) -> Patch:
    """Every part is quantized, then they are joined."""
    out = node.outputs[0]
    attrs = {key: value for key, value in node.attrs.items() if key != "axis"}
    parts = {value: f"{out}/part_{i}" for i, value in enumerate(dict.fromkeys(concat.inputs))}
    added = [
        replace(node, inputs=(value, *node.inputs[1:]), outputs=(part,), attrs=attrs, name=part)
        for value, part in parts.items()
    ]
    joined = replace(concat, inputs=tuple(parts[v] for v in concat.inputs), outputs=(out,))
    dtype = graph.dtype(out)
    types = {part: TensorType(dtype, graph.shape(value)) for value, part in parts.items()}
    return Patch(remove=(concat, node), add=(*added, joined), types=types)


def _patch(graph: Graph, move: Node, node: Node) -> Patch:
    source, out = move.inputs[0], node.outputs[0]
    name = f"{out}/unmoved"
    attrs = {key: value for key, value in node.attrs.items() if key != "axis"}
    quantized = replace(node, inputs=(source, *node.inputs[1:]), outputs=(name,), attrs=attrs)
    moved = replace(move, inputs=(name, *move.inputs[1:]), outputs=(out,))
    types = {name: TensorType(graph.dtype(out), graph.shape(source))}
    return Patch(remove=(move, node), add=(quantized, moved), types=types)
