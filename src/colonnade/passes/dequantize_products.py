"""QLinear, QConv and QMatMul in float32, until a kernel for 8 bits takes them.

This is the last of the quantization passes: `why_float32` knows what the kernels cannot do. What they
can do but float32 does faster is found later, by widen_products.

Operands become the integers as floats, x - x_zero and w - w_zero; scales and bias are applied to
the product. Sums of integers are exact in float32 below 2^24, in any order, so that the result is
that of integer arithmetic for all but very long or very large sums. A weight that is its zero
point becomes 0, so that sparse kernels see the zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np

from colonnade.ir import BYTE_DEPTH_MAX, DType, Graph, Node, Patch, is_static
from colonnade.passes.construction import OPSET, Construction
from colonnade.passes.quantization import bias_of, is_product, output_of

SPAN_LIMITS = (256, 4096)
"""Rows and columns that the window of a depthwise convolution may cover, and steps that it may take."""
STRIDE_MAX = 64


def dequantize_products(graph: Graph) -> Iterator[Patch]:
    """One patch for each product that no 8-bit kernel takes."""
    for node in graph.nodes:
        if is_product(node) and (reason := why_float32(graph, node)):
            yield replace(_in_float32(graph, node), reasons={node.name: reason})


def why_float32(graph: Graph, node: Node) -> str:
    """Why planner/lower has no kernel on 8-bit integers for the product; "" if it has."""
    if node.op == "QMatMul":
        return _why_sum_is_long((graph.shape(node.inputs[0]) or (None,))[-1])
    x, w, _, x_zero, _, w_zero = node.inputs[:6]
    weights, zeros = graph.constants[w], graph.constants.get(w_zero)
    if zeros is None or zeros.any():
        return "no 8-bit kernel for weights with a zero point"
    if reason := _why_sum_is_long(weights[0].size):
        return reason
    ends = ((x, x_zero), (node.outputs[0], (output_of(node) or ("", ""))[1]))
    if any(z and graph.dtype(v) is DType.INT8 and z not in graph.constants for v, z in ends):
        return "no 8-bit kernel for an int8 zero point that the run makes"
    if node.op == "QConv" and not _has_byte_groups(graph, node, weights):
        return "no 8-bit kernel for such groups, or for more than two spatial axes"
    return ""


def _why_sum_is_long(terms: int | str | None) -> str:
    if isinstance(terms, int) and terms <= BYTE_DEPTH_MAX:
        return ""
    return f"sums of {terms} terms, above {BYTE_DEPTH_MAX}, may not fit int32"


def _has_byte_groups(graph: Graph, node: Node, weights: np.ndarray) -> bool:
    """One or two spatial axes; groups of one channel, or of whole groups of four features."""
    group = cast(int, node.attrs.get("group", 1))
    channels, outs = weights.shape[1], weights.shape[0] // group
    if weights.ndim not in (3, 4) or not is_static(graph.shape(node.outputs[0])):
        return False
    if channels == outs == 1 and group > 1:
        return _is_small_window(node, weights.shape[2:])
    return group == 1 or (channels % 4 == 0 and outs % 4 == 0)


def _is_small_window(node: Node, kernel: tuple[int, ...]) -> bool:
    """The depthwise kernel copies the rows that a window covers."""
    ones = (1,) * len(kernel)
    dilations = cast("tuple[int, ...]", node.attrs.get("dilations", ones))
    strides = cast("tuple[int, ...]", node.attrs.get("strides", ones))
    spans = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
    limits = SPAN_LIMITS[-len(kernel) :]
    is_near = all(span < limit for span, limit in zip(spans, limits, strict=True))
    return is_near and max(strides) <= STRIDE_MAX


def _in_float32(graph: Graph, node: Node) -> Patch:
    made = Construction(graph, node, "float32")
    a, b, a_scale, a_zero, b_scale, b_zero = node.inputs[:6]
    left = _centred(made, graph, a, a_zero)
    is_weighted = node.op != "QMatMul"
    right = _weights(made, graph, node) if is_weighted else _centred(made, graph, b, b_zero)
    op = "Conv" if node.op == "QConv" else "MatMul"
    shape = made.shape(node.outputs[0])
    product = f"{node.outputs[0]}/float32/{op}"
    made.declare(product, DType.FLOAT32, shape)
    made.add(Node(op, (left, right), (product,), node.attrs, node.name, "", OPSET))
    factor = made.arithmetic("Mul", a_scale, b_scale)
    bias = bias_of(node)
    if node.op == "QConv":
        factor, bias = (_by_channel(made, value, len(shape)) for value in (factor, bias))
    output = output_of(node)
    last = node.outputs[0] if output is None else ""
    result = made.arithmetic("Mul", product, factor, output="" if bias else last)
    if bias:
        result = made.arithmetic("Add", result, bias, output=last)
    if output is not None:
        made.call(
            "QuantizeLinear", (result, *output), shape, output=node.outputs[0],
            dtype=graph.dtype(node.outputs[0]),
        )  # fmt: skip
    return made.patch()


def _centred(made: Construction, graph: Graph, value: str, zero: str) -> str:
    """x - zero as float32."""
    array, shift = graph.constants.get(value), graph.constants.get(zero)
    if array is not None and shift is not None:
        return made.constant(array.astype(np.float32) - shift.astype(np.float32))
    inputs = (value, made.number(1.0), zero)
    return made.call("DequantizeLinear", inputs, made.shape(value), dtype=DType.FLOAT32)


def _weights(made: Construction, graph: Graph, node: Node) -> str:
    """w - w_zero as float32, as Conv or MatMul reads it."""
    w, zero = graph.constants[node.inputs[1]], graph.constants[node.inputs[5]]
    by_row = zero.reshape((-1,) + (1,) * (w.ndim - 1)) if zero.ndim else zero
    array = w.astype(np.float32) - by_row.astype(np.float32)
    return made.constant(np.ascontiguousarray(array.T) if node.op == "QLinear" else array)


def _by_channel(made: Construction, value: str, rank: int) -> str:
    """One value for each channel, against axis 1; a scalar and an absent value as they are."""
    if not value or made.shape(value) == ():
        return value
    return made.reshape(value, (*made.shape(value), *(1,) * (rank - 2)))
