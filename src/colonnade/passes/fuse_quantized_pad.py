"""Padding with the zero point moves into the convolution of 8-bit integers that reads it.

QConv pads with x_zero itself. As in fuse_pad: spatial axes, constant amounts, no `auto_pad`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from colonnade.ir import Graph, Node, Patch
from colonnade.passes.fuse_pad import added_pads, spatial_padding


def fuse_quantized_pad(graph: Graph) -> Iterator[Patch]:
    """Pad -> QConv."""
    for node in graph.nodes:
        if node.domain != "colonnade" or node.op != "QConv":
            continue
        pad = graph.producer.get(node.inputs[0])
        if pad is None or pad.op != "Pad" or pad.domain:
            continue
        amounts = _zero_padding(graph, node, pad)
        if amounts is None or node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
            continue
        inputs = (pad.inputs[0], *node.inputs[1:])
        attrs = {**node.attrs, "pads": added_pads(node, amounts)}
        removed = (pad, node) if graph.sole_consumer(pad.outputs[0]) else (node,)
        yield Patch(remove=removed, add=(replace(node, inputs=inputs, attrs=attrs),))


def _zero_padding(graph: Graph, conv: Node, pad: Node) -> tuple[int, ...] | None:
    zero = graph.constants.get(conv.inputs[3])
    return None if zero is None else spatial_padding(graph, pad, float(zero))
