"""Operators that are products of 8-bit integers already become ours: the QOperator format.

QLinearConv and QLinearMatMul of ONNX; QGemm, MatMulIntegerToFloat and DynamicQuantizeMatMul of
ONNX Runtime. An int32 bias counts steps of x_scale * w_scale; it becomes float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch, is_static
from colonnade.passes.construction import NO_ATTRS, Construction
from colonnade.passes.quantization import (
    Quantized,
    Weights,
    add_operand,
    add_weighted_product,
    make_product,
    read_quantized,
    read_weights,
)

_CONTRIB = "com.microsoft"


def adopt_quantized_products(graph: Graph) -> Iterator[Patch]:
    """One patch for each node whose scales are scalars, or one a feature for constant weights."""
    for node in graph.nodes:
        adopt = _ADOPT.get((node.domain, node.op))
        if adopt is None or not is_static(graph.shape(node.outputs[0])):
            continue
        patch = adopt(graph, node)
        if patch is not None:
            yield patch


def _qlinear_conv(graph: Graph, node: Node) -> Patch | None:
    x = _read(graph, node, 0, 1, 2)
    weights = read_weights(graph, _read(graph, node, 3, 4, 5, axis=0), 0)
    y = _read_output(graph, node, 6, 7)
    if x is None or x.axis is not None or weights is None or y is None:
        return None
    bias = _integer_bias(graph, _operand(node, 8), x, weights)
    if isinstance(bias, str):
        return None
    made = Construction(graph, node, "quantized")
    left = (x.value, *add_operand(made, x, graph.dtype(x.value)))
    output = add_operand(made, y, graph.dtype(y.value))
    add_weighted_product(made, node, left, weights, bias, output, node.attrs)
    return made.patch()


def _qlinear_matmul(graph: Graph, node: Node) -> Patch | None:
    a = _read(graph, node, 0, 1, 2)
    b = _read(graph, node, 3, 4, 5, axis=1)
    y = _read_output(graph, node, 6, 7)
    return None if y is None else _matmul(graph, node, a, b, None, y)


def _qgemm(graph: Graph, node: Node) -> Patch | None:
    if node.attrs.get("transA", 0) or node.attrs.get("alpha", 1.0) != 1.0:
        return None
    row_axis = 0 if node.attrs.get("transB", 0) else 1
    a, b = _read(graph, node, 0, 1, 2), _read(graph, node, 3, 4, 5, axis=row_axis)
    has_output = bool(_operand(node, 7))
    y = _read_output(graph, node, 7, 8) if has_output else None
    weights = read_weights(graph, b, row_axis)
    if a is None or a.axis is not None or weights is None or (has_output and y is None):
        return None
    bias = _integer_bias(graph, _operand(node, 6), a, weights)
    if isinstance(bias, str):
        return None
    return _weighted(graph, node, a, weights, bias, y)


def _matmul_to_float(graph: Graph, node: Node) -> Patch | None:
    a = _read(graph, node, 0, 2, 4)
    b = _read(graph, node, 1, 3, 5, axis=1)
    return _matmul(graph, node, a, b, _float_bias(graph, _operand(node, 6)), None)


def _dynamic_matmul(graph: Graph, node: Node) -> Patch | None:
    weights = read_weights(graph, _read(graph, node, 1, 2, 3, axis=1), 1)
    bias = _float_bias(graph, _operand(node, 4))
    if weights is None or _is_misfit(bias, weights):
        return None
    made = Construction(graph, node, "quantized")
    value = node.inputs[0]
    scale, zero, integers = (f"{node.outputs[0]}/{name}" for name in ("scale", "zero", "integers"))
    made.declare(integers, DType.UINT8, made.shape(value))
    made.declare(scale, DType.FLOAT32, ())
    made.declare(zero, DType.UINT8, ())
    outputs = (integers, scale, zero)
    made.add(Node("DynamicQuantizeLinear", (value,), outputs, NO_ATTRS, integers, "", 11))
    add_weighted_product(made, node, outputs, weights, None if isinstance(bias, str) else bias)
    return made.patch()


def _matmul(
    graph: Graph,
    node: Node,
    a: Quantized | None,
    b: Quantized | None,
    bias: np.ndarray | str | None,
    y: Quantized | None,
) -> Patch | None:
    """QLinear of constant weights on two axes, else QMatMul."""
    if a is None or a.axis is not None or b is None or len(graph.shape(a.value) or ()) < 2:
        return None
    rank = len(graph.shape(b.value) or ())
    weights = read_weights(graph, b, 1) if rank == 2 else None
    if weights is not None:
        if _is_misfit(bias, weights):
            return None
        return _weighted(graph, node, a, weights, None if isinstance(bias, str) else bias, y)
    if b.axis is not None or bias is not None or rank < 2:
        return None
    made = Construction(graph, node, "quantized")
    inputs: tuple[str, ...] = (a.value, b.value)
    for side in (a, b) if y is None else (a, b, y):
        inputs = (*inputs, *add_operand(made, side, graph.dtype(side.value)))
    made.add(make_product(node, "QMatMul", inputs))
    return made.patch()


def _weighted(
    graph: Graph,
    node: Node,
    a: Quantized,
    weights: Weights,
    bias: np.ndarray | None,
    y: Quantized | None,
) -> Patch:
    made = Construction(graph, node, "quantized")
    x = (a.value, *add_operand(made, a, graph.dtype(a.value)))
    output = None if y is None else add_operand(made, y, graph.dtype(y.value))
    add_weighted_product(made, node, x, weights, bias, output)
    return made.patch()


def _operand(node: Node, index: int) -> str:
    return node.inputs[index] if index < len(node.inputs) else ""


def _read(
    graph: Graph, node: Node, value: int, scale: int, zero: int, axis: int = 0
) -> Quantized | None:
    """Inputs of the node by number; `axis` is that of one scale a feature."""
    return read_quantized(graph, node.inputs[value], node.inputs[scale], _operand(node, zero), axis)


def _read_output(graph: Graph, node: Node, scale: int, zero: int) -> Quantized | None:
    found = read_quantized(
        graph, node.outputs[0], _operand(node, scale), _operand(node, zero), axis=0
    )
    return found if found is not None and found.axis is None else None


def _integer_bias(
    graph: Graph, value: str, x: Quantized, weights: Weights
) -> np.ndarray | str | None:
    """int32 steps of x_scale * w_scale as float32 [m]; a string when they are not constant."""
    if not value:
        return None
    steps, scale = graph.constants.get(value), graph.constants.get(x.scale)
    features = weights.array.shape[0]
    if steps is None or scale is None or steps.dtype != np.int32:
        return "not constant"
    if steps.size != 1 and (steps.size, steps.shape[-1]) != (features, features):
        return "not one a feature"
    factor = (scale.reshape(()) * weights.scale).astype(np.float64)
    return np.asarray(np.broadcast_to(steps.reshape(-1), (features,)) * factor)


def _float_bias(graph: Graph, value: str) -> np.ndarray | str | None:
    if not value:
        return None
    array = graph.constants.get(value)
    return "not constant" if array is None else array.reshape(-1)


def _is_misfit(bias: np.ndarray | str | None, weights: Weights) -> bool:
    if isinstance(bias, str):
        return True
    return bias is not None and bias.size != weights.array.shape[0]


_ADOPT: dict[tuple[str, str], Callable[[Graph, Node], Patch | None]] = {
    ("", "QLinearConv"): _qlinear_conv,
    ("", "QLinearMatMul"): _qlinear_matmul,
    (_CONTRIB, "QGemm"): _qgemm,
    (_CONTRIB, "MatMulIntegerToFloat"): _matmul_to_float,
    (_CONTRIB, "DynamicQuantizeMatMul"): _dynamic_matmul,
}
