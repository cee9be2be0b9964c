"""Products of dequantized operands become products of the integers: QConv, QLinear, QMatMul.

The DequantizeLinear stays for its other readers. Activations have one scale, constant weights one
for all or one for each output feature; a product with any other operand stays in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch, is_static
from colonnade.passes.construction import Construction
from colonnade.passes.quantization import (
    Quantized,
    Weights,
    add_operand,
    add_weighted_product,
    find_dequantized,
    make_product,
    read_weights,
)


def fold_quantized_products(graph: Graph) -> Iterator[Patch]:
    """Conv, MatMul and Gemm of two DequantizeLinear; the result stays float32."""
    for node in graph.nodes:
        fold = None if node.domain else _FOLDS.get(node.op)
        if fold is None or not _has_elements(graph, (*node.inputs[:2], node.outputs[0])):
            continue
        patch = fold(graph, node)
        if patch is not None:
            yield patch


def _has_elements(graph: Graph, values: tuple[str, ...]) -> bool:
    """True when all shapes are known, and no axis is empty."""
    shapes = [graph.shape(value) for value in values]
    return all(is_static(shape) and 0 not in shape for shape in shapes)


def _conv(graph: Graph, node: Node) -> Patch | None:
    weights = read_weights(graph, find_dequantized(graph, node.inputs[1]), 0)
    bias = _bias(graph, node, 1.0)
    if weights is None or isinstance(bias, str):
        return None
    return _weighted(graph, node, weights, bias)


def _matmul(graph: Graph, node: Node) -> Patch | None:
    a, b = node.inputs
    rank_a, rank_b = len(graph.shape(a) or ()), len(graph.shape(b) or ())
    if rank_a < 2 or rank_b < 2:
        return None
    weights = read_weights(graph, find_dequantized(graph, b), 1) if rank_b == 2 else None
    if weights is not None:
        return _weighted(graph, node, weights, None)
    left, right = _activation(graph, a), _activation(graph, b)
    if left is None or right is None:
        return None
    made = Construction(graph, node, "quantized")
    scales = (
        *add_operand(made, left, graph.dtype(left.value)),
        *add_operand(made, right, graph.dtype(right.value)),
    )
    made.add(make_product(node, "QMatMul", (left.value, right.value, *scales)))
    return made.patch()


def _gemm(graph: Graph, node: Node) -> Patch | None:
    if node.attrs.get("transA", 0) or node.attrs.get("alpha", 1.0) != 1.0:
        return None
    row_axis = 0 if node.attrs.get("transB", 0) else 1
    weights = read_weights(graph, find_dequantized(graph, node.inputs[1]), row_axis)
    bias = _bias(graph, node, cast(float, node.attrs.get("beta", 1.0)))
    if weights is None or isinstance(bias, str):
        return None
    return _weighted(graph, node, weights, bias)


def _weighted(graph: Graph, node: Node, weights: Weights, bias: np.ndarray | None) -> Patch | None:
    source = _activation(graph, node.inputs[0])
    if source is None:
        return None
    if bias is not None:
        features = weights.array.shape[0]
        if bias.size != 1 and (bias.size, bias.shape[-1]) != (features, features):
            return None  # Gemm may add a value for each row of its result.
        bias = np.broadcast_to(bias.reshape(-1), (features,))
    made = Construction(graph, node, "quantized")
    x = (source.value, *add_operand(made, source, graph.dtype(source.value)))
    attrs = node.attrs if node.op == "Conv" else {}
    add_weighted_product(made, node, x, weights, bias, attrs=attrs)
    return made.patch()


def _activation(graph: Graph, value: str) -> Quantized | None:
    source = find_dequantized(graph, value)
    return source if source is not None and source.axis is None else None


def _bias(graph: Graph, node: Node, factor: float) -> np.ndarray | str | None:
    """The constant bias, None when there is none, a string when it is not constant."""
    value = node.inputs[2] if len(node.inputs) > 2 else ""
    if not value:
        return None
    array = graph.constants.get(value)
    if array is None or graph.dtype(value) is not DType.FLOAT32:
        return "not constant"
    return array * np.float32(factor)


_FOLDS: dict[str, Callable[[Graph, Node], Patch | None]] = {
    "Conv": _conv,
    "MatMul": _matmul,
    "Gemm": _gemm,
}
