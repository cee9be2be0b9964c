"""What the quantization passes share: integers with scale and zero point, and products of them.

The typed products (QLinear, QConv, QMatMul) are defined in reference/quantized_products.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from colonnade.ir import AttrValue, DType, Graph, Node, is_static
from colonnade.passes.construction import NO_ATTRS, Construction
from colonnade.passes.quantized_constants import EIGHT_BITS

FLOAT = 1
"""TensorProto.FLOAT."""
PRODUCTS = ("QLinear", "QConv", "QMatMul")


@dataclass(frozen=True)
class Quantized:
    """8-bit integers, with the values that hold their scale and zero point ("" for zeros)."""

    value: str
    scale: str
    zero: str
    axis: int | None = None
    """The axis with a scale for each index; None with one for all (whatever `axis` said)."""


@dataclass(frozen=True)
class Weights:
    """int8 weights, one row a feature: array [m, ...]; scale float32, zero int8, each [] or [m]."""

    array: np.ndarray
    scale: np.ndarray
    zero: np.ndarray


def is_dequantize(node: Node | None) -> bool:
    """True for ONNX's DequantizeLinear."""
    return node is not None and not node.domain and node.op == "DequantizeLinear"


def is_quantize(node: Node | None) -> bool:
    """True for ONNX's QuantizeLinear."""
    return node is not None and not node.domain and node.op == "QuantizeLinear"


def find_dequantized(graph: Graph, value: str) -> Quantized | None:
    """The 8-bit integers that `value` (float32) is dequantized from."""
    node = graph.producer.get(value)
    if node is None or not is_dequantize(node) or graph.dtype(value) is not DType.FLOAT32:
        return None
    return read_parameters(graph, node.inputs[0], node)


def read_parameters(graph: Graph, integers: str, node: Node) -> Quantized | None:
    """`integers` with inputs 1 and 2 of their QuantizeLinear or DequantizeLinear, in float32."""
    if node.attrs.get("precision", 0) not in (0, FLOAT):
        return None
    axis = node.attrs.get("axis", 1)
    zero = node.inputs[2] if len(node.inputs) > 2 else ""
    assert isinstance(axis, int)
    return read_quantized(graph, integers, node.inputs[1], zero, axis)


def read_quantized(
    graph: Graph, integers: str, scale: str, zero: str, axis: int
) -> Quantized | None:
    """8-bit integers, float32 scales, zero points of the integers' type.

    None for other types, scales of blocks, and shapes that do not fit or are not known.
    """
    shape, scales = graph.shape(integers), graph.shape(scale)
    if graph.dtype(integers) not in EIGHT_BITS or graph.dtype(scale) is not DType.FLOAT32:
        return None
    if not is_static(shape) or not is_static(scales):
        return None
    if zero and (graph.dtype(zero) is not graph.dtype(integers) or not _fits(graph, zero, scales)):
        return None
    if math.prod(scales) == 1:
        return Quantized(integers, scale, zero)
    if len(scales) != 1 or not -len(shape) <= axis < len(shape):
        return None
    axis %= len(shape)
    return Quantized(integers, scale, zero, axis) if shape[axis] == scales[0] else None


def _fits(graph: Graph, zero: str, scales: tuple[int, ...]) -> bool:
    """As many zero points as scales, or one."""
    shape = graph.shape(zero)
    return is_static(shape) and (math.prod(shape) == 1 or shape == scales)


def read_weights(graph: Graph, source: Quantized | None, row_axis: int) -> Weights | None:
    """Constant weights with the axis of the features in front; None when they are anything else."""
    if source is None or source.axis not in (None, row_axis):
        return None
    array, scale = (graph.constants.get(value) for value in (source.value, source.scale))
    if array is None or scale is None or (source.zero and source.zero not in graph.constants):
        return None
    if array.size == 0:
        return None
    zero = graph.constants[source.zero] if source.zero else np.zeros((), array.dtype)
    return make_weights(np.moveaxis(array, row_axis, 0), scale, zero)


def make_weights(array: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> Weights:
    """Weights of either type: uint8 is shifted by 128, its zero point too, which changes nothing.

    One scale for each row, or one for all; the same zero point for all rows becomes a scalar.
    """
    if (zero == zero.reshape(-1)[:1]).all():
        zero = zero.reshape(-1)[0]
    scale = scale.reshape(()) if scale.size == 1 else scale.reshape(-1)
    return Weights(
        np.ascontiguousarray(as_int8(array)), scale.astype(np.float32), as_int8(np.asarray(zero))
    )


def as_int8(array: np.ndarray) -> np.ndarray:
    """uint8 less 128; int8 as it is."""
    if array.dtype == np.int8:
        return array
    return np.asarray((array ^ np.uint8(128)).view(np.int8))


def as_scalar(made: Construction, value: str) -> str:
    """A value with one element, without axes."""
    return value if made.shape(value) == () else made.reshape(value, ())


def add_operand(made: Construction, source: Quantized, dtype: DType) -> tuple[str, str]:
    """(scale, zero) of an activation as scalars; a missing zero point becomes 0."""
    zero = source.zero or made.constant(np.zeros((), dtype.numpy))
    return as_scalar(made, source.scale), as_scalar(made, zero)


def add_weighted_product(
    made: Construction,
    node: Node,
    x: tuple[str, str, str],
    weights: Weights,
    bias: np.ndarray | None,
    y: tuple[str, str] | None = None,
    attrs: Mapping[str, AttrValue] = NO_ATTRS,
) -> None:
    """QLinear or QConv (weights of more than two axes) in place of `node`.

    x: value, scale, zero; y: scale, zero of a quantized output; bias float32 [m].
    """
    w, scale, zero = (made.constant(a) for a in (weights.array, weights.scale, weights.zero))
    shift = "" if bias is None else made.constant(np.ascontiguousarray(bias, np.float32))
    inputs: tuple[str, ...] = (x[0], w, *x[1:], scale, zero)
    if y is not None:
        inputs = (*inputs, shift, *y)
    elif shift:
        inputs = (*inputs, shift)
    op = "QConv" if weights.array.ndim > 2 else "QLinear"
    made.add(make_product(node, op, inputs, attrs))


def make_product(
    node: Node, op: str, inputs: tuple[str, ...], attrs: Mapping[str, AttrValue] = NO_ATTRS
) -> Node:
    """One of our products, that makes the first output of `node`."""
    out = node.outputs[0]
    return Node(op, inputs, (out,), attrs, node.name or out, "colonnade", 1)


def is_product(node: Node | None) -> bool:
    """True for QLinear, QConv and QMatMul."""
    return node is not None and node.domain == "colonnade" and node.op in PRODUCTS


def bias_of(node: Node) -> str:
    """The bias of a product; empty when it has none."""
    if node.op == "QMatMul" or len(node.inputs) < 7:
        return ""
    return node.inputs[6]


def output_of(node: Node) -> tuple[str, str] | None:
    """(y_scale, y_zero) of a product with a quantized output."""
    first = 6 if node.op == "QMatMul" else 7
    if len(node.inputs) <= first or not node.inputs[first]:
        return None
    return node.inputs[first], node.inputs[first + 1]


def with_bias(node: Node, bias: str) -> Node:
    """The product (QLinear, QConv) with this bias instead of none."""
    return replace(node, inputs=(*node.inputs[:6], bias, *node.inputs[7:]))
