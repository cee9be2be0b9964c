"""Half-precision moves join the fallback when they touch it, and only then."""

from __future__ import annotations

from colonnade.ir import DType, Graph, Node, TensorType
from colonnade.planner.islands import find_islands

HALF, SINGLE = TensorType(DType.FLOAT16, (2, 2)), TensorType(DType.FLOAT32, (2, 2))


def chain(types: list[TensorType], ops: list[str]) -> Graph:
    """One node after the other; value i has types[i]."""
    nodes = tuple(
        Node(op, (f"v{i}",), (f"v{i + 1}",), {}, f"n{i}", "", 18) for i, op in enumerate(ops)
    )
    values = {f"v{i}": type_ for i, type_ in enumerate(types)}
    return Graph("g", ("v0",), (f"v{len(ops)}",), nodes, values, {}, {"": 18})


def islands_of(graph: Graph, fallback_ops: set[str]) -> list[str]:
    fallback = {id(node): node.op in fallback_ops for node in graph.nodes}
    found = find_islands(graph, fallback)
    return [node.op for node in graph.nodes if id(node) in found]


def test_moves_next_to_fallback_join_it() -> None:
    graph = chain([HALF] * 5, ["Reshape", "Transpose", "MatMul", "Reshape"])
    assert islands_of(graph, {"MatMul"}) == ["Reshape", "Transpose", "Reshape"]


def test_a_cast_stops_the_spread() -> None:
    graph = chain([HALF, HALF, SINGLE, SINGLE], ["MatMul", "Cast", "Relu"])
    assert islands_of(graph, {"MatMul"}) == ["Cast"]


def test_half_precision_without_fallback_stays_native() -> None:
    graph = chain([HALF, HALF, SINGLE, SINGLE], ["Gather", "Cast", "Relu"])
    assert islands_of(graph, set()) == []


def test_single_precision_beside_fallback_stays_native() -> None:
    graph = chain([SINGLE] * 4, ["Relu", "NonZero", "Relu"])
    assert islands_of(graph, {"NonZero"}) == []
