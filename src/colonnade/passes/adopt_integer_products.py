"""MatMulInteger and ConvInteger with what turns their sums back into floats become our products.

    Mul(Cast(Add?(MatMulInteger(a, b, a_zero, b_zero), int32 bias)), scale)

Written by quantize_dynamic (the scale is that of DynamicQuantizeLinear times that of the weights)
and by SparseML (the scale is constant, the bias is added before the cast). A float32 bias behind it
is for fold_product_bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch, is_static
from colonnade.passes.construction import Construction
from colonnade.passes.quantization import (
    FLOAT,
    add_weighted_product,
    as_scalar,
    make_product,
    make_weights,
)
from colonnade.passes.quantized_constants import EIGHT_BITS


@dataclass(frozen=True)
class _Chain:
    """The nodes from the product to the Mul, and the constant int32 bias on the way."""

    product: Node
    between: tuple[Node, ...]
    bias: np.ndarray | None
    factor: str


@dataclass(frozen=True)
class _Scales:
    """Of the left operand: a value, or 1 when empty. Of the right: constant or a value."""

    left: str
    right: np.ndarray | str


def adopt_integer_products(graph: Graph) -> Iterator[Patch]:
    """One patch for each chain that nobody else reads from."""
    for node in graph.nodes:
        if node.domain or node.op != "Mul" or graph.dtype(node.outputs[0]) is not DType.FLOAT32:
            continue
        for value, factor in (node.inputs, node.inputs[::-1]):
            chain = _find_chain(graph, node, value, factor)
            patch = _adopt(graph, node, chain) if chain is not None else None
            if patch is not None:
                yield patch
                break


def _find_chain(graph: Graph, mul: Node, value: str, factor: str) -> _Chain | None:
    cast = _sole(graph, value, mul, "Cast")
    if cast is None or cast.attrs.get("to") != FLOAT:
        return None
    product = _integer_product(graph, cast.inputs[0], cast)
    if product is not None:
        return _Chain(product, (cast,), None, factor)
    add = _sole(graph, cast.inputs[0], cast, "Add")
    if add is None:
        return None
    for summand, other in (add.inputs, add.inputs[::-1]):
        product = _integer_product(graph, summand, add)
        bias = graph.constants.get(other)
        if product is not None and bias is not None:
            return _Chain(product, (add, cast), bias, factor)
    return None


def _sole(graph: Graph, value: str, reader: Node, op: str) -> Node | None:
    node = graph.producer.get(value)
    if node is None or node.domain or node.op != op or graph.sole_consumer(value) is not reader:
        return None
    return node


def _integer_product(graph: Graph, value: str, reader: Node) -> Node | None:
    return _sole(graph, value, reader, "MatMulInteger") or _sole(
        graph, value, reader, "ConvInteger"
    )


def _adopt(graph: Graph, mul: Node, chain: _Chain) -> Patch | None:
    product = chain.product
    a, b = product.inputs[:2]
    out = graph.shape(mul.outputs[0])
    values = (a, b, *filter(None, product.inputs[2:]), chain.factor)
    if not all(is_static(graph.shape(value)) for value in values):
        return None
    if not is_static(out) or graph.shape(product.outputs[0]) != out:
        return None
    if graph.dtype(a) not in EIGHT_BITS or graph.dtype(b) not in EIGHT_BITS:
        return None
    if len(out) < 2 or not _is_scalar(graph, _zero(product, 2)):
        return None
    weights = graph.constants.get(b)
    if weights is None or (product.op == "MatMulInteger" and weights.ndim != 2):
        return _two_activations(graph, mul, chain)
    return _weighted(graph, mul, chain, weights)


def _weighted(graph: Graph, mul: Node, chain: _Chain, array: np.ndarray) -> Patch | None:
    product = chain.product
    is_conv = product.op == "ConvInteger"
    rank = len(graph.shape(mul.outputs[0]) or ())
    rows = array if is_conv else array.T
    axis = 1 if is_conv else rank - 1
    scales = _split_factor(graph, chain.factor, rank, axis, len(rows))
    zero_name = _zero(product, 3)
    zero = graph.constants.get(zero_name) if zero_name else np.zeros((), array.dtype)
    if scales is None or isinstance(scales.right, str) or zero is None:
        return None
    if zero.size not in (1, len(rows)) or rows.size == 0:
        return None
    bias = None
    if chain.bias is not None:
        steps = _by_feature(chain.bias, rank, axis, len(rows))
        if steps is None or scales.left:
            return None  # a bias in steps that are only known at run time
        bias = np.broadcast_to(steps, (len(rows),)) * scales.right.astype(np.float64)
    made = Construction(graph, mul, "quantized")
    weights = make_weights(rows, scales.right, zero)
    attrs = product.attrs if is_conv else {}
    add_weighted_product(made, mul, _left(made, graph, product, scales), weights, bias, attrs=attrs)
    return made.patch(also=(product, *chain.between))


def _two_activations(graph: Graph, mul: Node, chain: _Chain) -> Patch | None:
    product = chain.product
    if product.op == "ConvInteger" or chain.bias is not None:
        return None
    if not _is_scalar(graph, _zero(product, 3)) or not _is_scalar(graph, chain.factor):
        return None
    if min(len(graph.shape(value) or ()) for value in product.inputs[:2]) < 2:
        return None
    made = Construction(graph, mul, "quantized")
    scales = _split_scalar(graph, chain.factor)
    right = scales.right
    scale = as_scalar(made, right) if isinstance(right, str) else made.constant(right.reshape(()))
    a, b = product.inputs[:2]
    inputs = (
        a,
        b,
        *_left(made, graph, product, scales)[1:],
        scale,
        _zero_value(made, graph, product, 1),
    )
    made.add(make_product(mul, "QMatMul", inputs))
    return made.patch(also=(product, *chain.between))


def _left(made: Construction, graph: Graph, product: Node, scales: _Scales) -> tuple[str, str, str]:
    """Value, scale and zero point of the left operand."""
    scale = as_scalar(made, scales.left) if scales.left else made.number(1.0)
    return product.inputs[0], scale, _zero_value(made, graph, product, 0)


def _zero(product: Node, index: int) -> str:
    return product.inputs[index] if index < len(product.inputs) else ""


def _zero_value(made: Construction, graph: Graph, product: Node, side: int) -> str:
    name = _zero(product, 2 + side)
    if name:
        return as_scalar(made, name)
    return made.constant(np.zeros((), graph.dtype(product.inputs[side]).numpy))


def _is_scalar(graph: Graph, value: str) -> bool:
    shape = graph.shape(value)
    return not value or (is_static(shape) and all(dim == 1 for dim in shape))


def _split_factor(graph: Graph, factor: str, rank: int, axis: int, features: int) -> _Scales | None:
    """The scale of the sums: of x, one value or 1, and constants of the weights."""
    array = graph.constants.get(factor)
    if array is not None:
        return _constant_scale(array, "", rank, axis, features)
    mul = graph.producer.get(factor)
    if mul is not None and not mul.domain and mul.op == "Mul":
        for value, other in (mul.inputs, mul.inputs[::-1]):
            array = graph.constants.get(other)
            if array is not None and _is_scalar(graph, value):
                return _constant_scale(array, value, rank, axis, features)
    if _is_scalar(graph, factor):
        return _Scales(factor, np.ones((), np.float32))
    return None


def _constant_scale(
    array: np.ndarray, left: str, rank: int, axis: int, features: int
) -> _Scales | None:
    right = _by_feature(array, rank, axis, features)
    return None if right is None else _Scales(left, right)


def _split_scalar(graph: Graph, factor: str) -> _Scales:
    """A product of two scalars into both, else all into the left one."""
    mul = graph.producer.get(factor)
    if mul is not None and not mul.domain and mul.op == "Mul":
        left, right = mul.inputs
        if _is_scalar(graph, left) and _is_scalar(graph, right):
            return _Scales(left, right)
    return _Scales(factor, np.ones((), np.float32))


def _by_feature(array: np.ndarray, rank: int, axis: int, features: int) -> np.ndarray | None:
    """[] or [features] of a constant that broadcasts along `axis` only."""
    if array.size == 1:
        return array.reshape(())
    padded = (1,) * (rank - array.ndim) + array.shape
    if len(padded) != rank or any(
        dim != (features if i == axis else 1) for i, dim in enumerate(padded)
    ):
        return None
    return array.reshape(features)
