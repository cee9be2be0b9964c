"""Heads of an attention: where they lie in a value, and how they are put into its last axis.

Attention nodes read and make [..., heads * depth] features. The heads' transposes and reshapes, however
an exporter writes them, are seen through by `trace_moves`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from colonnade.ir import AttrValue, DType, Graph, Node, Patch, TensorType, is_static
from colonnade.passes.trace_moves import (
    features_last_index,
    is_move,
    num_columns,
    sample_coordinates,
    trace_back,
)


def scores_shape(graph: Graph, softmax: Node) -> tuple[int, ...] | None:
    """[batch, heads, queries, keys] or without heads, of a softmax over keys; None for another one."""
    shape = graph.shape(softmax.inputs[0])
    if not is_static(shape) or len(shape) not in (3, 4) or 0 in shape:
        return None
    axis = cast(int, softmax.attrs.get("axis", -1 if softmax.version >= 13 else 1))
    return shape if axis in (-1, len(shape) - 1) else None


@dataclass(frozen=True)
class Heads:
    """[batch, heads, positions, depth] of a query, key or value operand."""

    batch: int
    heads: int
    positions: int
    depth: int


@dataclass(frozen=True)
class Operand:
    """A value with the heads in its last axis, and the nodes that make it so when none did."""

    value: str
    heads: int
    scale: float = 1.0
    added: tuple[Node, ...] = ()
    types: tuple[tuple[str, TensorType], ...] = ()
    constants: tuple[tuple[str, np.ndarray], ...] = ()


@dataclass(frozen=True)
class Samples:
    """Elements of an operand: (batch, head, position, i), and the same in the value's own axes."""

    heads: tuple[np.ndarray, ...]
    own: tuple[np.ndarray, ...]


FindOperand = Callable[[Graph, str, Heads, bool], Operand | None]
"""(graph, value, what it holds, whether its last two axes are swapped) to an operand."""


def find_operands(
    graph: Graph, product: Node, out: Node, shape: tuple[int, ...], find: FindOperand
) -> tuple[Operand, Operand, Operand] | None:
    """Queries and keys of `product`, values of `out`; `shape` is that of the scores."""
    q_shape, v_shape = graph.shape(product.inputs[0]), graph.shape(out.inputs[1])
    if not is_static(q_shape) or not is_static(v_shape) or len(q_shape) != len(shape):
        return None
    batch, heads = _batch_heads(shape)
    queries, keys = shape[-2:]
    q = find(graph, product.inputs[0], Heads(batch, heads, queries, q_shape[-1]), False)
    k = find(graph, product.inputs[1], Heads(batch, heads, keys, q_shape[-1]), True)
    v = find(graph, out.inputs[1], Heads(batch, heads, keys, v_shape[-1]), False)
    if q is None or k is None or v is None or k.heads != v.heads or q.heads != heads:
        return None
    return q, k, v


def attention_patch(
    graph: Graph,
    op: str,
    out: Node,
    operands: tuple[Operand, Operand, Operand],
    mask: str,
    shape: tuple[int, ...],
    attrs: Mapping[str, AttrValue],
) -> Patch:
    """The fused node in place of `out`, or of the move that joins its heads.

    num_heads, kv_num_heads and batch are added to `attrs`. `shape`: that of the scores.
    """
    q, k, v = operands
    batch, heads = _batch_heads(shape)
    depth = (graph.shape(out.outputs[0]) or (0,))[-1]
    assert isinstance(depth, int)
    dtype = graph.dtype(out.outputs[0])
    extra = (*q.added, *k.added, *v.added)
    types = dict((*q.types, *k.types, *v.types))
    constants = dict((*q.constants, *k.constants, *v.constants))
    own = graph.shape(mask) if mask else ()
    if mask and len(shape) == 3 and is_static(own) and len(own) == 3:
        lifted, four = f"{out.outputs[0]}/mask", (own[0], 1, *own[1:])
        target = shape_constant(four, constants, types)
        types[lifted] = TensorType(DType.FLOAT32, four)
        extra += (Node("Reshape", (mask, target), (lifted,), {}, lifted, "", 14),)
        mask = lifted
    joined = _joined_output(graph, out, Heads(batch, heads, shape[-2], depth))
    made = joined or f"{out.outputs[0]}/features_last"
    inputs = (q.value, k.value, v.value, mask) if mask else (q.value, k.value, v.value)
    facts = {"num_heads": heads, "kv_num_heads": k.heads, "batch": batch, **attrs}
    node = Node(op, inputs, (made,), facts, out.name or made, "colonnade", 1)
    if joined:
        last = graph.producer[joined]
        return Patch((last,), (*extra, node), types=types, constants=constants)
    flat = (batch, shape[-2], heads * depth)
    types[made] = TensorType(dtype, flat)
    split, more_types, more_constants = _split_heads(out, made, flat, heads, len(shape), dtype)
    return Patch(
        (out,), (*extra, node, *split),
        types={**types, **more_types}, constants={**constants, **more_constants},
    )  # fmt: skip


def sample_heads(graph: Graph, value: str, want: Heads, *, transposed: bool) -> Samples | None:
    """None where the value is not [b, h, s, d], or [b, s, d]; `transposed`: the last two swapped."""
    positions = (want.batch, want.heads, want.positions, want.depth)
    at = sample_coordinates(positions)
    own = graph.shape(value)
    if not is_static(own) or len(own) not in (3, 4):
        return None
    order = (0, 1, 3, 2) if transposed else (0, 1, 2, 3)
    if tuple(positions[i] for i in order)[-2:] != own[-2:]:
        return None
    if _batch_heads(own) != (want.batch, want.heads):
        return None
    seen = tuple(at[i] for i in order)
    return Samples(at, seen if len(own) == 4 else (seen[0], *seen[2:]))


def scalar_factor(graph: Graph, node: Node) -> tuple[str, float] | None:
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


def is_mask(graph: Graph, value: str, shape: tuple[int, ...]) -> bool:
    """True for float32 that broadcasts to the scores."""
    own = graph.shape(value)
    if not is_static(own) or graph.dtype(value) is not DType.FLOAT32 or len(own) > len(shape):
        return False
    padded = (1,) * (len(shape) - len(own)) + own
    return all(dim in (1, size) for dim, size in zip(padded, shape, strict=True))


def after_softmax(graph: Graph, value: str) -> tuple[str, bool]:
    """The attention weights; exporters' safe softmax replaces rows of NaN by zeros."""
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


def _batch_heads(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[0], shape[1]) if len(shape) == 4 else (shape[0], 1)


def heads_of(
    index_of: np.ndarray, shape: tuple[int, ...], at: tuple[np.ndarray, ...], want: Heads
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


def moved_copy(graph: Graph, value: str, want: Heads, *, transposed: bool) -> Operand:
    """Transpose and reshape [b, h, s, d] (or [b, h, d, s]) to [b, s, h * d]."""
    shape = graph.shape(value)
    assert is_static(shape)
    if len(shape) == 3 and not transposed:
        return Operand(value, 1)
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
    types[turned] = TensorType(graph.dtype(value), moved)
    types[flat] = TensorType(graph.dtype(value), flat_shape)
    return Operand(flat, want.heads, 1.0, added, tuple(types.items()), tuple(constants.items()))


def shape_constant(
    shape: tuple[int, ...], constants: dict[str, np.ndarray], types: dict[str, TensorType]
) -> str:
    """Name of the constant that holds a shape for Reshape; the name says the value."""
    name = f"shape({', '.join(map(str, shape))})"
    constants[name] = np.array(shape, np.int64)
    types[name] = TensorType(DType.INT64, (len(shape),))
    return name


def _joined_output(graph: Graph, out: Node, want: Heads) -> str:
    """The last value down a chain of moves that has the heads joined in its last axis, or none."""
    value, best = out.outputs[0], ""
    while (node := graph.sole_consumer(value)) is not None and is_move(node):
        value = node.outputs[0]
        shape = graph.shape(value)
        if not is_static(shape) or len(shape) < 2 or shape[-1] != want.heads * want.depth:
            continue
        if num_columns(shape) == want.batch * want.positions and _comes_from(
            graph, value, out.outputs[0], shape, want
        ):
            best = value
    return best


def _comes_from(graph: Graph, value: str, origin: str, shape: tuple[int, ...], want: Heads) -> bool:
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
    out: Node, made: str, flat: tuple[int, ...], heads: int, rank: int, dtype: DType
) -> tuple[tuple[Node, ...], dict[str, TensorType], dict[str, np.ndarray]]:
    """From [b, s, h * d] back to the product's own [b, h, s, d] or [b, s, d]."""
    batch, positions, features = flat
    if rank == 3:
        return (Node("Identity", (made,), out.outputs, {}, out.name, "", 14),), {}, {}
    shape = (batch, positions, heads, features // heads)
    split = f"{made}/split"
    constants: dict[str, np.ndarray] = {}
    types = {split: TensorType(dtype, shape)}
    target = shape_constant(shape, constants, types)
    nodes = (
        Node("Reshape", (made, target), (split,), {}, split, "", 14),
        Node("Transpose", (split,), out.outputs, {"perm": (0, 2, 1, 3)}, out.name, "", 13),
    )
    return nodes, types, constants
