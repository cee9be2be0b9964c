"""Products with constant weights become colonnade.Linear, with the bias inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch, Program, TensorType


def fuse_linear(graph: Graph) -> Iterator[Patch]:
    """MatMul(x, W) [+ bias] and Gemm(x, W, bias), float32, W constant with two axes."""
    for node in graph.nodes:
        if node.domain or node.op not in ("MatMul", "Gemm"):
            continue
        patch = _from_matmul(graph, node) if node.op == "MatMul" else _from_gemm(graph, node)
        if patch is not None:
            yield patch


def _from_matmul(graph: Graph, node: Node) -> Patch | None:
    x, w = node.inputs
    if not _is_weights(graph, w) or len(graph.shape(x) or ()) < 2:
        return None
    add = graph.sole_consumer(node.outputs[0])
    bias = _bias_of(graph, add, node.outputs[0], graph.constants[w].shape[1]) if add else ""
    if not bias or add is None:
        return Patch(remove=(node,), add=(_linear(node, (x, w), node.outputs[0]),))
    made = _linear(node, (x, w, bias), add.outputs[0])
    return Patch(remove=(node, add), add=(made,))


def _bias_of(graph: Graph, add: Node, product: str, features: int) -> str:
    """The other operand of an Add when it is a constant with one value a feature."""
    if add.op != "Add" or add.domain:
        return ""
    other = add.inputs[1] if add.inputs[0] == product else add.inputs[0]
    array = graph.constants.get(other)
    if array is None or array.size != features or array.shape[-1:] != (features,):
        return ""
    rank = len(graph.shape(product) or ())
    return other if array.ndim <= rank else ""


def _from_gemm(graph: Graph, node: Node) -> Patch | None:
    x, w = node.inputs[:2]
    c = node.inputs[2] if len(node.inputs) > 2 else ""
    if not _is_weights(graph, w) or node.attrs.get("transA", 0):
        return None
    alpha, beta = (cast(float, node.attrs.get(name, 1.0)) for name in ("alpha", "beta"))
    constants: dict[str, np.ndarray] = {}
    array = graph.constants[w]
    if node.attrs.get("transB", 0):
        w, array = f"{w}/transposed", array.T
        constants[w] = array
    if alpha != 1.0:
        constants.clear()
        w = f"{node.outputs[0]}/weights"
        constants[w] = array * np.float32(alpha)
    if c:
        bias = _gemm_bias(graph, c, array.shape[1])
        if bias is None:
            return None
        if beta != 1.0 or bias is not graph.constants[c]:
            c = f"{node.outputs[0]}/bias"
            constants[c] = bias * np.float32(beta)
    inputs = (x, w, c) if c else (x, w)
    types = {name: TensorType(DType.FLOAT32, a.shape) for name, a in constants.items()}
    made = _linear(node, inputs, node.outputs[0])
    return Patch(remove=(node,), add=(made,), constants=constants, types=types)


def _gemm_bias(graph: Graph, c: str, features: int) -> np.ndarray | None:
    """The constant with one value a feature; a single value is repeated."""
    array = graph.constants.get(c)
    if array is None:
        return None
    if array.shape in ((features,), (1, features)):
        return array
    return np.broadcast_to(array.reshape(-1), (features,)) if array.size == 1 else None


def _is_weights(graph: Graph, value: str) -> bool:
    array = graph.constants.get(value)
    if array is None:
        return False
    return array.ndim == 2 and array.dtype == np.float32 and array.size > 0


def _linear(node: Node, inputs: tuple[str, ...], out: str) -> Node:
    attrs = {"epilogue": Program(1)}
    return Node("Linear", inputs, (out,), attrs, node.name or out, "colonnade", 1)
