"""softmax(scale * Q K^T + mask) V, however the heads are split and joined, becomes Attention.

Start reading at `fuse_attention`. The heads' transposes and reshapes are seen through by
`trace_moves`: the fused node reads [..., heads * depth] features and makes the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from colonnade.ir import DType, Graph, Node, Patch, TensorType, is_static
from colonnade.passes.trace_moves import (
    features_last_index,
    is_move,
    num_columns,
    sample_coordinates,
    trace_back,
)


@dataclass(frozen=True)
class _Scores:
    """What feeds a softmax: scale * product + mask."""

    product: Node
    scale: float
    mask: str


@dataclass(frozen=True)
class _Heads:
    """[batch, heads, positions, depth] of a query, key or value operand."""

    batch: int
    heads: int
    positions: int
    depth: int


@dataclass(frozen=True)
class _Operand:
    """A value with the heads in its last axis, and the nodes that make it so when none did."""

    value: str
    heads: int
    scale: float = 1.0
    added: tuple[Node, ...] = ()
    types: tuple[tuple[str, TensorType], ...] = ()
    constants: tuple[tuple[str, np.ndarray], ...] = ()


def fuse_attention(graph: Graph) -> Iterator[Patch]:
    """One patch for every softmax between two products."""
    for node in graph.nodes:
        if node.op == "Softmax" and not node.domain:
            patch = _fuse(graph, node)
            if patch is not None:
                yield patch


def _fuse(graph: Graph, softmax: Node) -> Patch | None:
    shape = graph.shape(softmax.inputs[0])
    if not is_static(shape) or len(shape) not in (3, 4) or 0 in shape:
        return None
    axis = cast(int, softmax.attrs.get("axis", -1 if softmax.version >= 13 else 1))
    if axis not in (-1, len(shape) - 1) or graph.dtype(softmax.inputs[0]) is not DType.FLOAT32:
        return None
    scores = _scores(graph, softmax.inputs[0], shape)
    weights, zero_nan_rows = _after_softmax(graph, softmax)
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
        factor = _scalar_factor(graph, node, value)
        if factor is not None:
            value, step = factor
            scale *= step
            continue
        if node.op != "Add" or mask or scale != 1.0:
            return None
        sides = [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])]
        found = next((s for s in sides if _is_scores(graph, s[0], shape)), None)
        if found is None or not _is_mask(graph, found[1], shape):
            return None
        value, mask = found


def _scalar_factor(graph: Graph, node: Node, _: str) -> tuple[str, float] | None:
    """(the other operand, factor) of a Mul or Div by a one-element constant."""
    if node.op not in ("Mul", "Div") or node.domain or len(node.inputs) != 2:
        return None
    for i in (1, 0) if node.op == "Mul" else (1,):
        array = graph.constants.get(node.inputs[i])
        if array is not None and array.size == 1 and array.dtype == np.float32:
            factor = float(array.reshape(-1)[0])
            if factor == 0.0:
                return None
            return node.inputs[1 - i], factor if node.op == "Mul" else 1.0 / factor
    return None


def _is_scores(graph: Graph, value: str, shape: tuple[int, ...]) -> bool:
    node = graph.producer.get(value)
    return node is not None and node.op in ("MatMul", "Mul", "Div") and graph.shape(value) == shape


def _is_mask(graph: Graph, value: str, shape: tuple[int, ...]) -> bool:
    own = graph.shape(value)
    if not is_static(own) or graph.dtype(value) is not DType.FLOAT32 or len(own) > len(shape):
        return False
    padded = (1,) * (len(shape) - len(own)) + own
    return all(dim in (1, size) for dim, size in zip(padded, shape, strict=True))


def _after_softmax(graph: Graph, softmax: Node) -> tuple[str, bool]:
    """The attention weights; exporters' safe softmax replaces rows of NaN by zeros."""
    value = softmax.outputs[0]
    readers = graph.consumers.get(value, ())
    if len(readers) != 2 or {node.op for node in readers} != {"IsNaN", "Where"}:
        return value, False
    is_nan, where = sorted(readers, key=lambda node: node.op)
    zero = graph.constants.get(where.inputs[1])
    is_safe = (
        where.inputs[0] == is_nan.outputs[0]
        and where.inputs[2] == value
        and zero is not None
        and zero.size == 1
        and float(zero.reshape(-1)[0]) == 0.0
        and value not in graph.outputs
    )
    return (where.outputs[0], True) if is_safe else (value, False)


def _build(
    graph: Graph, scores: _Scores, out: Node, shape: tuple[int, ...], zero_nan_rows: bool
) -> Patch | None:
    """`out` is the product of weights and values; `shape` the scores'."""
    q_shape, v_shape = graph.shape(scores.product.inputs[0]), graph.shape(out.inputs[1])
    if not is_static(q_shape) or not is_static(v_shape) or len(q_shape) != len(shape):
        return None
    batch, heads = shape[0], shape[1] if len(shape) == 4 else 1
    queries, keys = shape[-2:]
    wanted = _Heads(batch, heads, queries, q_shape[-1])
    q = _operand(graph, scores.product.inputs[0], wanted, transposed=False)
    wanted = _Heads(batch, heads, keys, q_shape[-1])
    k = _operand(graph, scores.product.inputs[1], wanted, transposed=True)
    wanted = _Heads(batch, heads, keys, v_shape[-1])
    v = _operand(graph, out.inputs[1], wanted, transposed=False)
    if q is None or k is None or v is None or k.heads != v.heads or q.heads != heads:
        return None
    if v.scale != 1.0:
        return None
    mask = scores.mask
    extra = (*q.added, *k.added, *v.added)
    types = dict((*q.types, *k.types, *v.types))
    constants = dict((*q.constants, *k.constants, *v.constants))
    if mask and len(shape) == 3 and len(graph.shape(mask) or ()) == 3:
        mask = f"{out.outputs[0]}/mask"
        own = cast(tuple[int, ...], graph.shape(scores.mask))
        target = shape_constant((own[0], 1, *own[1:]), constants, types)
        types[mask] = TensorType(DType.FLOAT32, (own[0], 1, *own[1:]))
        extra += (Node("Reshape", (scores.mask, target), (mask,), {}, mask, "", 14),)
    joined = _joined_output(graph, out, _Heads(batch, heads, queries, v_shape[-1]))
    attrs = {
        "num_heads": heads, "kv_num_heads": k.heads, "batch": batch,
        "scale": scores.scale * q.scale * k.scale, "zero_nan_rows": int(zero_nan_rows),
    }  # fmt: skip
    made = joined.value if joined else f"{out.outputs[0]}/features_last"
    inputs = (q.value, k.value, v.value, mask) if mask else (q.value, k.value, v.value)
    node = Node("Attention", inputs, (made,), attrs, out.name or made, "colonnade", 1)
    if joined:
        last = graph.producer[joined.value]
        return Patch((last,), (*extra, node), types=types, constants=constants)
    flat = (batch, queries, heads * v_shape[-1])
    types[made] = TensorType(DType.FLOAT32, flat)
    split, more_types, more_constants = _split_heads(out, made, flat, heads, len(shape))
    return Patch(
        (out,), (*extra, node, *split),
        types={**types, **more_types}, constants={**constants, **more_constants},
    )  # fmt: skip


def _operand(graph: Graph, value: str, want: _Heads, *, transposed: bool) -> _Operand | None:
    """The deepest source that has the heads in its last axis, or a moved copy of the value."""
    scale, best = 1.0, None
    positions = (want.batch, want.heads, want.positions, want.depth)
    at = sample_coordinates(positions)
    own = graph.shape(value)
    if not is_static(own) or len(own) not in (3, 4):
        return None
    order = (0, 1, 3, 2) if transposed else (0, 1, 2, 3)
    seen = tuple(at[i] for i in order)
    if tuple(positions[i] for i in order)[-2:] != own[-2:]:
        return None
    if _batch_heads(own) != (want.batch, want.heads):
        return None
    coordinates = seen if len(own) == 4 else (seen[0], *seen[2:])
    current, moved = value, coordinates
    while True:
        for source in trace_back(graph, current, moved):
            shape = graph.shape(source.value)
            assert is_static(shape)
            heads = _heads_of(source.index_of, shape, at, want)
            if heads:
                best = _Operand(source.value, heads, scale)
            current, flat = source.value, source.index_of
        node = graph.producer.get(current)
        factor = _scalar_factor(graph, node, current) if node else None
        if factor is None:
            return best or _moved_copy(graph, value, want, scale, transposed=transposed)
        shape = graph.shape(current)
        assert is_static(shape)
        if graph.shape(factor[0]) != shape:
            return best or _moved_copy(graph, value, want, 1.0, transposed=transposed)
        moved = tuple(np.unravel_index(flat, shape))
        current, scale = factor[0], scale * factor[1]


def _batch_heads(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[0], shape[1]) if len(shape) == 4 else (shape[0], 1)


def _heads_of(
    index_of: np.ndarray, shape: tuple[int, ...], at: tuple[np.ndarray, ...], want: _Heads
) -> int:
    """Heads in the last axis of a source that holds them there, features last; else 0."""
    columns = want.batch * want.positions
    if len(shape) < 2 or shape[-1] % want.depth or num_columns(shape) != columns:
        return 0
    heads = shape[-1] // want.depth
    if heads == 0 or want.heads % heads:
        return 0
    expected = features_last_index(at, heads, want.heads // heads, want.positions, want.depth)
    return heads if np.array_equal(index_of, expected) else 0


def _moved_copy(
    graph: Graph, value: str, want: _Heads, scale: float, *, transposed: bool
) -> _Operand | None:
    """Transpose and reshape [b, h, s, d] (or [b, h, d, s]) to [b, s, h * d]."""
    del scale  # The copy is taken of the value itself, scaled as it stands.
    shape = graph.shape(value)
    assert is_static(shape)
    if len(shape) == 3 and not transposed:
        return _Operand(value, 1)
    perm: tuple[int, ...] = (0, 3, 1, 2) if transposed else (0, 2, 1, 3)
    if len(shape) == 3:
        perm = (0, 2, 1)
    turned, flat = f"{value}/turned", f"{value}/features_last"
    flat_shape = (want.batch, want.positions, want.heads * want.depth)
    constants: dict[str, np.ndarray] = {}
    types: dict[str, TensorType] = {}
    target = shape_constant(flat_shape, constants, types)
    moved = tuple(shape[i] for i in perm)
    added = (
        Node("Transpose", (value,), (turned,), {"perm": perm}, turned, "", 13),
        Node("Reshape", (turned, target), (flat,), {}, flat, "", 14),
    )
    types[turned] = TensorType(DType.FLOAT32, moved)
    types[flat] = TensorType(DType.FLOAT32, flat_shape)
    return _Operand(flat, want.heads, 1.0, added, tuple(types.items()), tuple(constants.items()))


def shape_constant(
    shape: tuple[int, ...], constants: dict[str, np.ndarray], types: dict[str, TensorType]
) -> str:
    """Name of the constant that holds a shape for Reshape; the name says the value."""
    name = f"shape({', '.join(map(str, shape))})"
    constants[name] = np.array(shape, np.int64)
    types[name] = TensorType(DType.INT64, (len(shape),))
    return name


@dataclass(frozen=True)
class _Joined:
    value: str


def _joined_output(graph: Graph, out: Node, want: _Heads) -> _Joined | None:
    """The last value down a chain of moves that has the heads joined in its last axis."""
    value, best = out.outputs[0], None
    while (node := graph.sole_consumer(value)) is not None and is_move(node):
        value = node.outputs[0]
        shape = graph.shape(value)
        if not is_static(shape) or len(shape) < 2 or shape[-1] != want.heads * want.depth:
            continue
        if num_columns(shape) == want.batch * want.positions and _comes_from(
            graph, value, out.outputs[0], shape, want
        ):
            best = _Joined(value)
    return best


def _comes_from(
    graph: Graph, value: str, origin: str, shape: tuple[int, ...], want: _Heads
) -> bool:
    """Element (column, feature) of `value` is (b, h, s, i) of `origin`."""
    column, feature = sample_coordinates((num_columns(shape), shape[-1]))
    flat = column * shape[-1] + feature
    coordinates = tuple(np.unravel_index(flat, shape))
    batch, position = column // want.positions, column % want.positions
    head, i = feature // want.depth, feature % want.depth
    expected = ((batch * want.heads + head) * want.positions + position) * want.depth + i
    return any(
        source.value == origin and np.array_equal(source.index_of, expected)
        for source in trace_back(graph, value, coordinates)
    )


def _split_heads(
    out: Node, made: str, flat: tuple[int, ...], heads: int, rank: int
) -> tuple[tuple[Node, ...], dict[str, TensorType], dict[str, np.ndarray]]:
    """From [b, s, h * d] back to the product's own [b, h, s, d] or [b, s, d]."""
    batch, positions, features = flat
    if rank == 3:
        return (Node("Identity", (made,), out.outputs, {}, out.name, "", 14),), {}, {}
    shape = (batch, positions, heads, features // heads)
    split = f"{made}/split"
    constants: dict[str, np.ndarray] = {}
    types = {split: TensorType(DType.FLOAT32, shape)}
    target = shape_constant(shape, constants, types)
    nodes = (
        Node("Reshape", (made, target), (split,), {}, split, "", 14),
        Node("Transpose", (split,), out.outputs, {"perm": (0, 2, 1, 3)}, out.name, "", 13),
    )
    return nodes, types, constants
