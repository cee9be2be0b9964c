"""A constant with one value a feature, added to a product of 8-bit integers, becomes its bias."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch
from colonnade.passes.construction import Construction
from colonnade.passes.quantization import bias_of, is_product, output_of, with_bias


def fold_product_bias(graph: Graph) -> Iterator[Patch]:
    """Add(QLinear or QConv, constant), where nobody else reads the product."""
    for node in graph.nodes:
        if node.domain or node.op != "Add" or graph.dtype(node.outputs[0]) is not DType.FLOAT32:
            continue
        for value, other in (node.inputs, node.inputs[::-1]):
            product = graph.producer.get(value)
            if product is None or not _takes_bias(graph, product, node):
                continue
            bias = _by_feature(graph, product, other)
            if bias is not None:
                yield _patch(graph, product, node, bias)
                break


def _takes_bias(graph: Graph, product: Node, add: Node) -> bool:
    if not is_product(product) or product.op == "QMatMul":
        return False
    if bias_of(product) or output_of(product) is not None:
        return False
    same = graph.shape(product.outputs[0]) == graph.shape(add.outputs[0])
    return same and graph.sole_consumer(product.outputs[0]) is add


def _by_feature(graph: Graph, product: Node, value: str) -> np.ndarray | None:
    """One value for each row of the weights; None for a constant of any other shape."""
    array = graph.constants.get(value)
    rank = len(graph.shape(product.outputs[0]) or ())
    if array is None or array.ndim > rank:
        return None
    features = graph.constants[product.inputs[1]].shape[0]
    axis = rank - 1 if product.op == "QLinear" else 1
    padded = (1,) * (rank - array.ndim) + array.shape
    if any(dim != (features if i == axis else 1) for i, dim in enumerate(padded)):
        return None
    return array.reshape(features)


def _patch(graph: Graph, product: Node, add: Node, bias: np.ndarray) -> Patch:
    made = Construction(graph, add, "biased")
    name = made.constant(np.ascontiguousarray(bias))
    node = with_bias(product, name)
    made.add(Node(node.op, node.inputs, add.outputs, node.attrs, node.name, node.domain, 1))
    return made.patch(also=(product,))
