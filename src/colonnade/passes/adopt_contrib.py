"""ONNX Runtime's own operators, from models that it optimised, become ours.

Normalisation with and without a sum before it, GELU, and attention without cache; float32, scales
and biases constant. Anything else stays for ONNX Runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import cast

import numpy as np

from colonnade.ir import (
    AttrValue,
    DType,
    Graph,
    Instruction,
    Node,
    Patch,
    Program,
    TensorType,
    is_static,
)

_CONTRIB = "com.microsoft"
_SKIP_EPSILON, _EPSILON = 1e-12, 1e-5
_SUM_OUTPUT = 3


def adopt_contrib(graph: Graph) -> Iterator[Patch]:
    """One patch for each node of ONNX Runtime's own that fits."""
    for node in graph.nodes:
        adopt = _ADOPT.get((node.domain, node.op))
        if adopt is None or not _is_static_float32(graph, node):
            continue
        patch = adopt(graph, node)
        if patch is not None:
            yield patch


def _is_static_float32(graph: Graph, node: Node) -> bool:
    values = [value for value in (*node.inputs, node.outputs[0]) if value]
    return all(
        graph.dtype(value) is DType.FLOAT32 and is_static(graph.shape(value)) for value in values
    )


def _operand(node: Node, index: int) -> str:
    return node.inputs[index] if index < len(node.inputs) else ""


def _is_per_feature(graph: Graph, value: str, features: object) -> bool:
    return not value or (value in graph.constants and graph.shape(value) == (features,))


def _shape(graph: Graph, value: str) -> tuple[int, ...]:
    return cast(tuple[int, ...], graph.shape(value))


def _skip_norm(graph: Graph, node: Node, kind: str) -> Patch | None:
    """Norm(x + skip + bias), with the sum as an optional fourth output."""
    x, skip, scale = node.inputs[:3]
    beta = _operand(node, 3) if kind == "LayerNorm" else ""
    bias = _operand(node, 4 if kind == "LayerNorm" else 3)
    shape = _shape(graph, x)
    if graph.shape(skip) != shape or any(node.outputs[1:_SUM_OUTPUT]):
        return None
    if not all(_is_per_feature(graph, value, shape[-1]) for value in (scale, beta, bias)):
        return None
    added: tuple[Node, ...] = ()
    types: dict[str, TensorType] = {}
    if bias:
        biased = f"{node.outputs[0]}/biased"
        added = (Node("Add", (x, bias), (biased,), {}, f"{node.name}/bias", "", 14),)
        types[biased] = graph.types[x]
        x = biased
    epsilon = cast(float, node.attrs.get("epsilon", _SKIP_EPSILON))
    outputs = (node.outputs[0], *node.outputs[_SUM_OUTPUT:])
    made = Node(
        kind, (x, scale, beta, skip), outputs, {"epsilon": epsilon}, node.name, "colonnade", 1
    )
    return Patch(remove=(node,), add=(*added, made), types=types)


def _rms_norm(graph: Graph, node: Node) -> Patch | None:
    """SimplifiedLayerNormalization over the last axis."""
    x, scale = node.inputs
    shape = _shape(graph, x)
    axis = cast(int, node.attrs.get("axis", -1))
    if axis not in (-1, len(shape) - 1) or any(node.outputs[1:]):
        return None
    if not _is_per_feature(graph, scale, shape[-1]):
        return None
    epsilon = cast(float, node.attrs.get("epsilon", _EPSILON))
    made = Node(
        "RMSNorm", (x, scale), node.outputs[:1], {"epsilon": epsilon}, node.name, "colonnade", 1
    )
    return Patch(remove=(node,), add=(made,))


def _gelu(graph: Graph, node: Node, opcode: str) -> Patch | None:
    """Gelu(x + bias?)."""
    inputs = tuple(value for value in node.inputs if value)
    program = Program(len(inputs))
    if len(inputs) == 2:
        if not _is_per_feature(graph, inputs[1], _shape(graph, inputs[0])[-1]):
            return None
        program = program.then("add", 1)
    return _elementwise(node, inputs, program.then(opcode))


def _quick_gelu(_: Graph, node: Node) -> Patch:
    """x * sigmoid(alpha * x)."""
    factor = f"{node.outputs[0]}/alpha"
    alpha = np.array(cast(float, node.attrs.get("alpha", 1.702)), np.float32)
    program = Program(
        2,
        (
            Instruction("mul", (0, 1)),
            Instruction("sigmoid", (2,)),
            Instruction("mul", (0, 3)),
        ),
    )
    return _elementwise(node, (node.inputs[0], factor), program, {factor: alpha})


def _elementwise(
    node: Node,
    inputs: tuple[str, ...],
    program: Program,
    constants: dict[str, np.ndarray] | None = None,
) -> Patch:
    made = Node(
        "Elementwise", inputs, node.outputs, {"program": program}, node.name, "colonnade", 1
    )
    types = {name: TensorType(DType.FLOAT32, ()) for name in constants or {}}
    return Patch(remove=(node,), add=(made,), constants=constants or {}, types=types)


def _attention(graph: Graph, node: Node) -> Patch | None:
    """MultiHeadAttention on three axes each, with an additive mask; no bias, padding or cache."""
    q, k, v = (graph.shape(_operand(node, i)) or () for i in range(3))
    mask = _operand(node, 5)
    rest = (*node.inputs[3:5], *node.inputs[6:], *node.outputs[1:])
    if any(rest) or any(len(shape) != 3 for shape in (q, k, v)):
        return None
    heads = cast(int, node.attrs["num_heads"])
    full = (q[0], heads, q[1], k[1])
    if mask and not _broadcasts(_shape(graph, mask), full):
        return None
    depth = _shape(graph, node.inputs[0])[2] // heads
    scale = cast(float, node.attrs.get("scale", 0.0)) or 1.0 / math.sqrt(depth)
    attrs: dict[str, AttrValue] = {
        "num_heads": heads, "kv_num_heads": heads, "batch": _shape(graph, node.inputs[0])[0],
        "scale": scale, "causal": cast(int, node.attrs.get("unidirectional", 0)),
        "zero_nan_rows": 0,
    }  # fmt: skip
    inputs = (*node.inputs[:3], mask) if mask else node.inputs[:3]
    made = Node("Attention", inputs, node.outputs[:1], attrs, node.name, "colonnade", 1)
    return Patch(remove=(node,), add=(made,))


def _broadcasts(shape: tuple[int, ...], full: tuple[object, ...]) -> bool:
    return len(shape) == len(full) and all(
        dim in (1, size) for dim, size in zip(shape, full, strict=True)
    )


_ADOPT: dict[tuple[str, str], Callable[[Graph, Node], Patch | None]] = {
    (_CONTRIB, "SkipLayerNormalization"): lambda g, n: _skip_norm(g, n, "LayerNorm"),
    (_CONTRIB, "SkipSimplifiedLayerNormalization"): lambda g, n: _skip_norm(g, n, "RMSNorm"),
    ("", "SimplifiedLayerNormalization"): _rms_norm,
    (_CONTRIB, "Gelu"): lambda g, n: _gelu(g, n, "gelu_erf"),
    (_CONTRIB, "BiasGelu"): lambda g, n: _gelu(g, n, "gelu_erf"),
    (_CONTRIB, "FastGelu"): lambda g, n: _gelu(g, n, "gelu_tanh"),
    (_CONTRIB, "QuickGelu"): _quick_gelu,
    (_CONTRIB, "MultiHeadAttention"): _attention,
}
