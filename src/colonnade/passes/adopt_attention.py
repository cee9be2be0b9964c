"""ONNX's own Attention (opset 23) without cache becomes colonnade.Attention.

Queries, keys and values have three axes, with the heads in the last one. Not with a past, a soft
cap, a boolean mask or a reader of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

from colonnade.ir import AttrValue, DType, Graph, Node, Patch, Shape, is_static

_OPERANDS_MAX = 4
"""Queries, keys, values, mask; what follows is a cache or its length."""


def adopt_attention(graph: Graph) -> Iterator[Patch]:
    """One patch for each node that needs no state."""
    for node in graph.nodes:
        if node.op == "Attention" and not node.domain and _is_plain(graph, node):
            made = _adopted(graph, node)
            if made is not None:
                yield Patch(remove=(node,), add=(made,))


def _is_plain(graph: Graph, node: Node) -> bool:
    operands = [value for value in node.inputs[:_OPERANDS_MAX] if value]
    shapes = [graph.shape(value) for value in operands]
    return (
        not any(node.inputs[_OPERANDS_MAX:])
        and not any(node.outputs[1:])
        and not node.attrs.get("softcap", 0.0)
        and all(graph.dtype(value) is DType.FLOAT32 for value in operands)
        and all(is_static(shape) and 0 not in shape for shape in shapes)
        and all(shape is not None and len(shape) == 3 for shape in shapes[:3])
    )


def _adopted(graph: Graph, node: Node) -> Node | None:
    q, k, v = (cast(tuple[int, ...], graph.shape(value)) for value in node.inputs[:3])
    heads = cast(int, node.attrs["q_num_heads"])
    kv_heads = cast(int, node.attrs["kv_num_heads"])
    mask = node.inputs[3] if len(node.inputs) > 3 else ""
    if heads % kv_heads or not _fits(graph.shape(mask), (q[0], heads, q[1], k[1])):
        return None
    if k[0] != q[0] or v[:2] != k[:2] or q[2] * kv_heads != k[2] * heads:
        return None
    scale = cast(float, node.attrs.get("scale", 1.0 / math.sqrt(q[2] // heads)))
    attrs: dict[str, AttrValue] = {
        "num_heads": heads, "kv_num_heads": kv_heads, "batch": q[0], "scale": scale,
        "causal": cast(int, node.attrs.get("is_causal", 0)), "zero_nan_rows": 0,
    }  # fmt: skip
    inputs = (*node.inputs[:3], mask) if mask else node.inputs[:3]
    return Node("Attention", inputs, node.outputs[:1], attrs, node.name, "colonnade", 1)


def _fits(shape: Shape | None, scores: tuple[int, ...]) -> bool:
    """The mask broadcasts to the scores; its last axis does not, for opset 24 pads that one."""
    if shape is None:
        return True
    padded = (1,) * (len(scores) - len(shape)) + shape
    return (
        len(padded) == len(scores)
        and all(dim in (1, size) for dim, size in zip(padded, scores, strict=True))
        and padded[-1] == scores[-1]
    )
