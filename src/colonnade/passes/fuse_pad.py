"""Zero padding of the spatial axes moves into the convolution that reads it.

Not into one with `auto_pad`, and not when a value other than zero, another axis or a negative
amount is padded. Average pooling takes it only where padding counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from colonnade.ir import AttrValue, Graph, Node, Patch


def fuse_pad(graph: Graph) -> Iterator[Patch]:
    """Pad -> Conv, and Pad -> AveragePool with count_include_pad."""
    for node in graph.nodes:
        if node.domain or node.op not in ("Conv", "AveragePool"):
            continue
        pad = graph.producer.get(node.inputs[0])
        if pad is None or pad.op != "Pad" or pad.domain or not _may_take_padding(node):
            continue
        amounts = spatial_padding(graph, pad, 0.0)
        if amounts is None:
            continue
        inputs = (pad.inputs[0], *node.inputs[1:])
        attrs = {**node.attrs, "pads": added_pads(node, amounts)}
        removed = (pad, node) if graph.sole_consumer(pad.outputs[0]) else (node,)
        yield Patch(remove=removed, add=(replace(node, inputs=inputs, attrs=attrs),))


def _may_take_padding(node: Node) -> bool:
    if node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
        return False
    if node.op == "Conv":
        return True
    return bool(node.attrs.get("count_include_pad", 0)) and not node.attrs.get("ceil_mode", 0)


def spatial_padding(graph: Graph, pad: Node, wanted: float) -> tuple[int, ...] | None:
    """Amounts before, then after each spatial axis of a Pad with this value; None for any other."""
    if pad.attrs.get("mode", "constant") != "constant" or (len(pad.inputs) > 3 and pad.inputs[3]):
        return None
    value: AttrValue | None = pad.attrs.get("value", 0.0)
    amounts: AttrValue | None = pad.attrs.get("pads")
    if len(pad.inputs) > 1:
        constant = graph.constants.get(pad.inputs[1])
        amounts = None if constant is None else tuple(int(amount) for amount in constant)
        if len(pad.inputs) > 2 and pad.inputs[2]:
            filler = graph.constants.get(pad.inputs[2])
            value = None if filler is None else float(filler.reshape(-1)[0])
    if value != wanted or not isinstance(amounts, tuple) or len(amounts) < 6:
        return None
    numbers = cast(tuple[int, ...], amounts)
    half = len(numbers) // 2
    begin, end = numbers[:half], numbers[half:]
    if any(begin[:2]) or any(end[:2]) or min(numbers) < 0:
        return None
    return (*begin[2:], *end[2:])


def added_pads(node: Node, amounts: tuple[int, ...]) -> tuple[int, ...]:
    """The node's own padding and these amounts."""
    own = cast(tuple[int, ...], node.attrs.get("pads", (0,) * len(amounts)))
    return tuple(a + b for a, b in zip(own, amounts, strict=True))
