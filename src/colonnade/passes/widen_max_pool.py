"""MaxPool of 8-bit integers in float32, until a kernel for 8 bits takes it.

Exact: every integer of 8 bits is a float32, and a window of padding only gives -infinity, which
saturates to the least integer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from colonnade.ir import Graph, Node, Patch, is_static
from colonnade.passes.construction import Construction
from colonnade.passes.quantized_constants import EIGHT_BITS


def widen_max_pool(graph: Graph) -> Iterator[Patch]:
    """DequantizeLinear, MaxPool, QuantizeLinear with scale 1; indices stay for ONNX Runtime."""
    for node in graph.nodes:
        if node.domain or node.op != "MaxPool" or any(node.outputs[1:]):
            continue
        x, out = node.inputs[0], node.outputs[0]
        if graph.dtype(x) not in EIGHT_BITS or not is_static(graph.shape(out)):
            continue
        yield _widened(graph, node, x, out)


def _widened(graph: Graph, node: Node, x: str, out: str) -> Patch:
    made = Construction(graph, node, "wide")
    dtype = graph.dtype(x)
    one, zero = made.number(1.0), made.constant(np.zeros((), dtype.numpy))
    wide = made.call("DequantizeLinear", (x, one, zero), made.shape(x))
    pooled = made.call("MaxPool", (wide,), made.shape(out), node.attrs, version=node.version)
    made.call("QuantizeLinear", (pooled, one, zero), made.shape(out), output=out, dtype=dtype)
    return made.patch()
