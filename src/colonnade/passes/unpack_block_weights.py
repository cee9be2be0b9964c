"""MatMulNBits of ONNX Runtime: weights of 4 or 8 bits, a scale for each block, become float32.

    w[k, n] = (b[n, k] - zero[n, k / block_size]) * scale[n, k / block_size]

B is uint8 [n, blocks, block_size * bits / 8], the first of two 4-bit numbers in the low bits; zero
points are packed alike for each row, or float32; without them zero is 2^(bits - 1). Activations stay
float32 whatever `accuracy_level` allows. Large models stay packed in ONNX Runtime: unpacked, they
may not fit memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch, is_static
from colonnade.passes.construction import Construction

MAX_FLOAT_BYTES = 1 << 30
"""Of all weights of the graph together, as float32."""


def unpack_block_weights(graph: Graph) -> Iterator[Patch]:
    """MatMul, and Add of the bias, for nodes whose weights are constant and not reordered."""
    nodes = [n for n in graph.nodes if (n.domain, n.op) == ("com.microsoft", "MatMulNBits")]
    if sum(4 * _size(node, "K") * _size(node, "N") for node in nodes) > MAX_FLOAT_BYTES:
        return
    for node in nodes:
        out = node.outputs[0]
        if graph.dtype(out) is not DType.FLOAT32 or not is_static(graph.shape(out)):
            continue
        weights = _weights(graph, node)
        if weights is not None:
            yield _product(graph, node, weights)


def _size(node: Node, name: str) -> int:
    return cast(int, node.attrs.get(name, 0))


def _input(node: Node, number: int) -> str:
    return node.inputs[number] if number < len(node.inputs) else ""


def _product(graph: Graph, node: Node, weights: np.ndarray) -> Patch:
    made = Construction(graph, node, "unpacked")
    out, bias = node.outputs[0], _input(node, 5)
    inputs = (node.inputs[0], made.constant(weights))
    product = made.call("MatMul", inputs, made.shape(out), output="" if bias else out)
    if bias:
        made.arithmetic("Add", product, bias, output=out)
    return made.patch()


def _weights(graph: Graph, node: Node) -> np.ndarray | None:
    """float32 [k, n]; None for what is not constant, reordered (g_idx) or of other widths."""
    bits, block = _size(node, "bits") or 4, _size(node, "block_size")
    k, n = _size(node, "K"), _size(node, "N")
    packed, scales = (graph.constants.get(node.inputs[i]) for i in (1, 2))
    if packed is None or scales is None or _input(node, 4) or bits not in (4, 8):
        return None
    blocks = -(-k // block) if block > 0 else 0
    if packed.dtype != np.uint8 or packed.size * 8 != n * blocks * block * bits:
        return None
    if scales.dtype != np.float32 or scales.size != n * blocks:
        return None
    zero = _zeros(graph, _input(node, 3), bits, n, blocks)
    if zero is None:
        return None
    numbers = _unpack(packed.reshape(n, -1), bits).reshape(n, blocks, block).astype(np.float32)
    real = (numbers - zero) * scales.reshape(n, blocks, 1)
    return np.ascontiguousarray(real.reshape(n, -1)[:, :k].T)


def _zeros(graph: Graph, value: str, bits: int, n: int, blocks: int) -> np.ndarray | None:
    """float32 [n, blocks, 1], or one for all."""
    if not value:
        return np.array(2 ** (bits - 1), np.float32)
    array = graph.constants.get(value)
    if array is not None and array.dtype == np.float32 and array.size == n * blocks:
        return array.reshape(n, blocks, 1)
    row_bytes = -(-blocks * bits // 8)
    if array is None or array.dtype != np.uint8 or array.size != n * row_bytes:
        return None
    unpacked = _unpack(array.reshape(n, row_bytes), bits)[:, :blocks]
    return unpacked.astype(np.float32).reshape(n, blocks, 1)


def _unpack(rows: np.ndarray, bits: int) -> np.ndarray:
    """The numbers of each row of bytes."""
    if bits == 8:
        return rows
    return np.stack((rows & 15, rows >> 4), axis=-1).reshape(len(rows), -1)
