"""Averages over space of 8-bit tensors become one operator on integers.

QuantizeLinear(AveragePool(DequantizeLinear(x))) -> colonnade.QAveragePool, which sums integers exactly
(reference/quantized_products.py). GlobalAveragePool, and ReduceMean over all spatial axes, are windows
as large as the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from colonnade.ir import AttrValue, DType, Graph, Node, Patch, is_static
from colonnade.passes.construction import Construction
from colonnade.passes.quantization import (
    Quantized,
    add_operand,
    find_dequantized,
    is_quantize,
    read_parameters,
)

SPATIAL_MAX = 2


def fuse_quantized_mean(graph: Graph) -> Iterator[Patch]:
    """Of one scale in and out, where nobody else reads the average."""
    for node in graph.nodes:
        mean = graph.producer.get(node.inputs[0]) if is_quantize(node) else None
        if mean is None or mean.domain or graph.sole_consumer(mean.outputs[0]) is not node:
            continue
        window = _find_window(graph, mean)
        source = find_dequantized(graph, mean.inputs[0]) if window is not None else None
        target = read_parameters(graph, node.outputs[0], node)
        if source is None or target is None or window is None:
            continue
        if all(_is_known(graph, side) for side in (source, target)):
            yield _patch(graph, node, (source, target), mean, window)


def _is_known(graph: Graph, side: Quantized) -> bool:
    """One scale; columns hold int8 as uint8, so its zero point must be a constant."""
    is_signed = graph.dtype(side.value) is DType.INT8
    return side.axis is None and (not is_signed or not side.zero or side.zero in graph.constants)


def _find_window(graph: Graph, mean: Node) -> Mapping[str, AttrValue] | None:
    """The attributes of an AveragePool that does the same."""
    shape = graph.shape(mean.inputs[0]) if mean.inputs else None
    if not is_static(shape) or 0 in shape or not 0 < len(shape) - 2 <= SPATIAL_MAX:
        return None
    if mean.op == "AveragePool":
        return mean.attrs
    if mean.op == "GlobalAveragePool" or (mean.op == "ReduceMean" and _is_spatial(graph, mean)):
        return {"kernel_shape": shape[2:]}
    return None


def _is_spatial(graph: Graph, mean: Node) -> bool:
    """A reduction over all axes but the first two."""
    rank = len(graph.shape(mean.inputs[0]) or ())
    axes = mean.attrs.get("axes")
    if axes is None and len(mean.inputs) > 1 and mean.inputs[1] in graph.constants:
        axes = tuple(int(axis) for axis in graph.constants[mean.inputs[1]].reshape(-1))
    if not isinstance(axes, tuple):
        return False
    return sorted(cast(int, axis) % rank for axis in axes) == list(range(2, rank))


def _patch(
    graph: Graph,
    node: Node,
    sides: tuple[Quantized, Quantized],
    mean: Node,
    window: Mapping[str, AttrValue],
) -> Patch:
    made = Construction(graph, node, "mean")
    x, y = (add_operand(made, side, graph.dtype(side.value)) for side in sides)
    inputs, out = (sides[0].value, *x, *y), node.outputs[0]
    shape = made.shape(mean.inputs[0])
    drops_axes = len(made.shape(out)) != len(shape)
    pooled = f"{out}/pooled" if drops_axes else out
    attrs = dict(window)
    made.add(Node("QAveragePool", inputs, (pooled,), attrs, node.name or out, "colonnade", 1))
    if drops_axes:
        made.declare(pooled, graph.dtype(out), (*shape[:2], *(1,) * (len(shape) - 2)))
        made.reshape(pooled, made.shape(out), output=out)
    return made.patch(also=(mean,))
