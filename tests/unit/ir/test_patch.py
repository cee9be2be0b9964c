"""Patches: one, many in a sweep, and those that must wait for the next sweep."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.ir import (
    DType,
    Graph,
    Node,
    Patch,
    Subgraph,
    TensorType,
    apply_patch,
    apply_patches,
    verify_graph,
)

FLOAT = TensorType(DType.FLOAT32, (2,))


def chain(*ops: str, outputs: tuple[str, ...] = ()) -> Graph:
    """x -> ops[0] -> v0 -> ops[1] -> v1 ..."""
    names = ["x", *(f"v{i}" for i in range(len(ops)))]
    nodes = tuple(Node(op, (names[i],), (names[i + 1],), name=f"n{i}") for i, op in enumerate(ops))
    return Graph("g", ("x",), outputs or (names[-1],), nodes, dict.fromkeys(names, FLOAT), {})


def ops(graph: Graph) -> list[str]:
    return [f"{node.op}({','.join(node.inputs)})->{node.outputs[0]}" for node in graph]


def replace_node(graph: Graph, index: int, op: str) -> Patch:
    old = graph.nodes[index]
    return Patch((old,), (Node(op, old.inputs, old.outputs),))


def test_added_node_takes_the_place_of_the_last_removed() -> None:
    graph = chain("Relu", "Exp", "Neg")
    first, second, _ = graph.nodes
    fused = Node("Fused", first.inputs, second.outputs)
    result = apply_patch(graph, Patch((first, second), (fused,)))
    assert ops(result) == ["Fused(x)->v1", "Neg(v1)->v2"]
    verify_graph(result)


def test_rename_reaches_every_reader() -> None:
    graph = chain("Identity", "Exp", "Neg")
    result = apply_patch(graph, Patch((graph.nodes[0],), rename={"v0": "x"}))
    assert ops(result) == ["Exp(x)->v1", "Neg(v1)->v2"]


def test_rename_of_a_graph_output_keeps_its_name() -> None:
    graph = chain("Exp", "Identity")
    result = apply_patch(graph, Patch((graph.nodes[1],), rename={"v1": "v0"}))
    assert ops(result) == ["Exp(x)->v0", "Identity(v0)->v1"]
    verify_graph(result)


def test_rename_of_a_captured_value_keeps_its_name() -> None:
    graph = chain("Identity", "Exp")
    body = Node("If", ("v1",), ("z",), {"then_branch": Subgraph(b"", ("v0",))})
    graph = graph.with_changes(
        nodes=(*graph.nodes, body), outputs=("z",), types={**graph.types, "z": FLOAT}
    )
    result = apply_patch(graph, Patch((graph.nodes[0],), rename={"v0": "x"}))
    assert ops(result) == ["Identity(x)->v0", "Exp(x)->v1", "If(v1)->z"]
    verify_graph(result)


def test_a_patch_does_not_rename_its_own_nodes() -> None:
    graph = chain("Relu", "Exp")
    patch = Patch(
        (graph.nodes[0],),
        (graph.nodes[0], Node("Cast", ("v0",), ("w",))),
        rename={"v0": "w"},
        types={"w": FLOAT},
    )
    result = apply_patch(graph, patch)
    assert ops(result) == ["Relu(x)->v0", "Cast(v0)->w", "Exp(w)->v1"]
    verify_graph(result)


def test_types_and_constants_are_added() -> None:
    graph = chain("Relu", "Exp")
    scale = np.ones(2, np.float32)
    patch = Patch(
        (graph.nodes[0],),
        (Node("Mul", ("x", "scale"), ("y",)),),
        rename={"v0": "y"},
        types={"y": FLOAT},
        constants={"scale": scale},
    )
    result = apply_patch(graph, patch)
    assert result.constants["scale"] is scale
    verify_graph(result)


def test_disjoint_patches_apply_in_one_sweep() -> None:
    graph = chain("Relu", "Exp", "Neg", "Abs")
    result, applied = apply_patches(graph, [replace_node(graph, i, f"New{i}") for i in range(4)])
    assert applied == 4
    assert ops(result) == ["New0(x)->v0", "New1(v0)->v1", "New2(v1)->v2", "New3(v2)->v3"]
    verify_graph(result)


def test_overlapping_patch_waits() -> None:
    graph = chain("Relu", "Exp", "Neg")
    a, b, c = graph.nodes
    first = Patch((a, b), (Node("AB", a.inputs, b.outputs),))
    second = Patch((b, c), (Node("BC", b.inputs, c.outputs),))
    result, applied = apply_patches(graph, [first, second])
    assert applied == 1
    assert ops(result) == ["AB(x)->v1", "Neg(v1)->v2"]


def test_patch_that_reads_a_value_another_one_dropped_waits() -> None:
    """The second patch reads v0 past its own node; the first fuses v0 away."""
    graph = chain("Relu", "Exp", "Neg")
    a, b, c = graph.nodes
    first = Patch((a, b), (Node("AB", a.inputs, b.outputs),))
    second = Patch((c,), (Node("C", ("v0",), c.outputs),))
    for order in ([first, second], [second, first]):
        result, applied = apply_patches(graph, order)
        assert applied == 1
        assert len(result.nodes) == (2 if order[0] is first else 3)


def test_renames_of_a_chain_are_followed_through() -> None:
    graph = chain("Identity", "Identity", "Identity", "Exp")
    patches = [Patch((node,), rename={node.outputs[0]: node.inputs[0]}) for node in graph.nodes[:3]]
    result, applied = apply_patches(graph, patches)
    assert applied == 3
    assert ops(result) == ["Exp(x)->v3"]


def test_patch_of_a_node_outside_the_graph_is_a_bug() -> None:
    graph = chain("Relu")
    with pytest.raises(ValueError, match="not in the graph"):
        apply_patch(graph, Patch((Node("Relu", ("x",), ("v0",)),)))


def test_no_patch_returns_the_same_graph() -> None:
    graph = chain("Relu")
    assert apply_patches(graph, []) == (graph, 0)
