"""Relu and Clip go where the QuantizeLinear behind them saturates at their bounds anyway.

QuantizeLinear is monotonic: when it sends the lower bound to the least integer, everything below
goes there too, clipped or not; so with the upper bound. NaN passes a clip unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch
from colonnade.passes.quantization import is_quantize, read_parameters


def remove_saturated_clip(graph: Graph) -> Iterator[Patch]:
    """QuantizeLinear(Relu or Clip), per tensor to 8 bits, all constant."""
    for node in graph.nodes:
        clip = graph.producer.get(node.inputs[0]) if is_quantize(node) else None
        if clip is None or graph.dtype(node.inputs[0]) is not DType.FLOAT32:
            continue
        bounds = _bounds(graph, clip)
        if bounds is None or not _saturates(graph, node, *bounds):
            continue
        read = replace(node, inputs=(clip.inputs[0], *node.inputs[1:]))
        is_last = graph.sole_consumer(clip.outputs[0]) is node
        yield Patch(remove=(clip, node) if is_last else (node,), add=(read,))


def _bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    if node.domain or node.op not in ("Relu", "Clip"):
        return None
    if node.op == "Relu":
        return 0.0, np.inf
    bounds = []
    for i, (name, default) in enumerate((("min", -np.inf), ("max", np.inf)), start=1):
        value = node.inputs[i] if i < len(node.inputs) else ""
        array = graph.constants.get(value)
        if value and array is None:
            return None
        given = cast(float, node.attrs.get(name, default))
        bounds.append(given if array is None else float(array.reshape(-1)[0]))
    low, high = bounds
    return (low, high) if low <= high else None  # crossed bounds send everything to `high`


def _saturates(graph: Graph, node: Node, low: float, high: float) -> bool:
    target = read_parameters(graph, node.outputs[0], node)
    if target is None or target.axis is not None:
        return False
    scale, zero = graph.constants.get(target.scale), graph.constants.get(target.zero)
    if scale is None or (target.zero and zero is None) or not (scale > 0).all():
        return False
    limits = np.iinfo(graph.dtype(target.value).numpy)  # type: ignore[type-var]  # 8 bits
    shift = 0 if zero is None else int(zero.reshape(-1)[0])
    with np.errstate(all="ignore"):
        steps = np.rint(np.array([low, high], np.float32) / scale.reshape(-1)[0]) + shift
    return bool(steps[0] <= limits.min and steps[1] >= limits.max)
