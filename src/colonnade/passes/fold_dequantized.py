"""DequantizeLinear of constants is computed now: weights whose product stays in float32.

A weight that is its zero point becomes 0, so that sparse kernels see the zeros.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from colonnade.ir import Graph, Patch, TensorType
from colonnade.passes.quantization import Quantized, find_dequantized, is_dequantize


def fold_dequantized(graph: Graph) -> Iterator[Patch]:
    """One patch for each DequantizeLinear of 8-bit constants."""
    for node in graph.nodes:
        if not is_dequantize(node):
            continue
        source = find_dequantized(graph, node.outputs[0])
        values = None if source is None else _dequantized(graph, source)
        if values is None:
            continue
        name = f"{node.outputs[0]}/folded"
        known = TensorType(graph.dtype(node.outputs[0]), values.shape)
        yield Patch(
            remove=(node,), rename={node.outputs[0]: name}, constants={name: values},
            types={name: known},
        )  # fmt: skip


def _dequantized(graph: Graph, source: Quantized) -> np.ndarray | None:
    array, scale = graph.constants.get(source.value), graph.constants.get(source.scale)
    zero = graph.constants.get(source.zero)
    if array is None or scale is None or (source.zero and zero is None):
        return None
    along = (-1,) + (1,) * (array.ndim - 1 - source.axis) if source.axis is not None else ()
    shift = np.zeros((), np.int32) if zero is None else zero.astype(np.int32).reshape(along)
    centred = array.astype(np.int32) - shift
    return np.asarray(centred.astype(np.float32) * scale.reshape(along))
