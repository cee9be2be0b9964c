"""QuantizeLinear of a DequantizeLinear that gives the same integers back is nothing.

With 8 bits there are 256 integers: all are tried, so that what goes is an exact no-op, however
scales and zero points are written.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from colonnade.ir import Graph, Patch
from colonnade.passes.quantization import (
    Quantized,
    find_dequantized,
    is_quantize,
    read_parameters,
)


def remove_requantize(graph: Graph) -> Iterator[Patch]:
    """Pairs with constant parameters, per tensor."""
    for node in graph.nodes:
        if not is_quantize(node):
            continue
        source = find_dequantized(graph, node.inputs[0])
        target = read_parameters(graph, node.outputs[0], node)
        if source is None or target is None:
            continue
        if graph.dtype(source.value) is graph.dtype(target.value) and _gives_back(
            graph, source, target
        ):
            yield Patch(remove=(node,), rename={node.outputs[0]: source.value})


def _gives_back(graph: Graph, source: Quantized, target: Quantized) -> bool:
    if source.axis is not None or target.axis is not None:
        return False
    parameters = [_parameters(graph, side) for side in (source, target)]
    if parameters[0] is None or parameters[1] is None:
        return False
    (scale, zero), (new_scale, new_zero) = parameters[0], parameters[1]
    limits = np.iinfo(graph.dtype(source.value).numpy)  # type: ignore[type-var]  # 8 bits
    every = np.arange(limits.min, limits.max + 1)
    with np.errstate(all="ignore"):
        real = (every - zero).astype(np.float32) * scale
        steps = np.rint(real / new_scale).astype(np.float64) + new_zero
    return bool(np.array_equal(np.clip(steps, limits.min, limits.max), every))


def _parameters(graph: Graph, side: Quantized) -> tuple[np.float32, int] | None:
    scale, zero = graph.constants.get(side.scale), graph.constants.get(side.zero)
    if scale is None or (side.zero and zero is None):
        return None
    return np.float32(scale.reshape(-1)[0]), 0 if zero is None else int(zero.reshape(-1)[0])
