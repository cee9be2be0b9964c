"""softmax(scale * Q K^T + mask) V, however the heads are split and joined, becomes Attention.

Start reading at `fuse_attention`. The heads' transposes and reshapes are seen through by
`trace_moves`: the fused node reads [..., heads * depth] features and makes the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch, is_static
from colonnade.passes.attention_heads import (
    Heads,
    Operand,
    after_softmax,
    attention_patch,
    find_operands,
    heads_of,
    is_mask,
    moved_copy,
    sample_heads,
    scalar_factor,
    scores_shape,
)
from colonnade.passes.trace_moves import trace_back


@dataclass(frozen=True)
class _Scores:
    """What feeds a softmax: scale * product + mask."""

    product: Node
    scale: float
    mask: str


def fuse_attention(graph: Graph) -> Iterator[Patch]:
    """One patch for every softmax between two products."""
    for node in graph.nodes:
        if node.op == "Softmax" and not node.domain:
            patch = _fuse(graph, node)
            if patch is not None:
                yield patch


def _fuse(graph: Graph, softmax: Node) -> Patch | None:
    shape = scores_shape(graph, softmax)
    if shape is None or graph.dtype(softmax.inputs[0]) is not DType.FLOAT32:
        return None
    scores = _scores(graph, softmax.inputs[0], shape)
    weights, zero_nan_rows = after_softmax(graph, softmax.outputs[0])
    out = graph.sole_consumer(weights)
    if scores is None or out is None or out.op != "MatMul" or out.inputs[0] != weights:
        return None
    return _build(graph, scores, out, shape, zero_nan_rows)


def _scores(graph: Graph, value: str, shape: tuple[int, ...]) -> _Scores | None:
    """Walk back from the softmax to the product of queries and keys."""
    scale, mask = 1.0, ""
    while True:
        node = graph.producer.get(value)
        if node is None or node.domain or graph.sole_consumer(value) is None:
            return None
        if node.op == "MatMul":
            return _Scores(node, scale, mask)
        factor = scalar_factor(graph, node)
        if factor is not None:
            value, step = factor
            scale *= step
            continue
        if node.op != "Add" or mask or scale != 1.0:
            return None
        sides = [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])]
        found = next((s for s in sides if _is_scores(graph, s[0], shape)), None)
        if found is None or not is_mask(graph, found[1], shape):
            return None
        value, mask = found


def _is_scores(graph: Graph, value: str, shape: tuple[int, ...]) -> bool:
    node = graph.producer.get(value)
    return node is not None and node.op in ("MatMul", "Mul", "Div") and graph.shape(value) == shape


def _build(
    graph: Graph, scores: _Scores, out: Node, shape: tuple[int, ...], zero_nan_rows: bool
) -> Patch | None:
    """`out` is the product of weights and values; `shape` the scores'."""
    operands = find_operands(graph, scores.product, out, shape, _operand)
    if operands is None or operands[2].scale != 1.0:
        return None
    attrs = {
        "scale": scores.scale * operands[0].scale * operands[1].scale,
        "zero_nan_rows": int(zero_nan_rows),
    }
    return attention_patch(graph, "Attention", out, operands, scores.mask, shape, attrs)


def _operand(graph: Graph, value: str, want: Heads, transposed: bool) -> Operand | None:
    """The deepest source that has the heads in its last axis, or a moved copy of the value."""
    scale, best = 1.0, None
    samples = sample_heads(graph, value, want, transposed=transposed)
    if samples is None:
        return None
    current, moved = value, samples.own
    while True:
        for source in trace_back(graph, current, moved):
            shape = graph.shape(source.value)
            assert is_static(shape)
            heads = heads_of(source.index_of, shape, samples.heads, want)
            if heads:
                best = Operand(source.value, heads, scale)
            current, flat = source.value, source.index_of
        node = graph.producer.get(current)
        factor = scalar_factor(graph, node) if node else None
        if factor is None or graph.shape(factor[0]) != graph.shape(current):
            return best or moved_copy(graph, value, want, transposed=transposed)
        shape = graph.shape(current)
        assert is_static(shape)
        moved = tuple(np.unravel_index(flat, shape))
        current, scale = factor[0], scale * factor[1]
