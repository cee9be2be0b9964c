"""The pass runner: repeat, clean up, verify, switch off, dump."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from colonnade.errors import KnobError
from colonnade.ir import DType, Graph, Node, Patch, TensorType
from colonnade.ir.verify import GraphError
from colonnade.passes.remove_dead_nodes import remove_dead_nodes
from colonnade.passes.runner import MAX_SWEEPS, run_passes

FLOAT = TensorType(DType.FLOAT32, (2,))


def negations(count: int) -> Graph:
    names = ["x", *(f"v{i}" for i in range(count))]
    nodes = tuple(Node("Neg", (names[i],), (names[i + 1],)) for i in range(count))
    return Graph("g", ("x",), (names[-1],), nodes, dict.fromkeys(names, FLOAT), {})


def remove_pairs(graph: Graph) -> Iterator[Patch]:
    """Neg(Neg(x)) = x: overlapping matches, so several sweeps."""
    for node in graph:
        inner = graph.producer.get(node.inputs[0])
        if inner and node.op == inner.op == "Neg" and node.outputs[0] not in graph.outputs:
            yield Patch((inner, node), rename={node.outputs[0]: inner.inputs[0]})


def rename_to_abs(graph: Graph) -> Iterator[Patch]:
    for node in graph:
        if node.op == "Neg":
            yield Patch((node,), (Node("Abs", node.inputs, node.outputs),))


def toggle(graph: Graph) -> Iterator[Patch]:
    for node in graph:
        other = {"Neg": "Abs", "Abs": "Neg"}[node.op]
        yield Patch((node,), (Node(other, node.inputs, node.outputs),))


def break_graph(graph: Graph) -> Iterator[Patch]:
    if graph.nodes[0].op == "Neg":
        yield Patch((graph.nodes[0],), (Node("Abs", ("missing",), graph.nodes[0].outputs),))


def test_a_pass_repeats_until_it_finds_nothing() -> None:
    report = run_passes(negations(9), [remove_pairs])
    assert [node.op for node in report.graph] == ["Neg"]
    assert report.records[0].name == "remove_pairs"
    assert report.records[0].num_changes == 4
    assert report.records[0].converged


def test_passes_run_in_order() -> None:
    report = run_passes(negations(3), [rename_to_abs, remove_pairs])
    assert [node.op for node in report.graph] == ["Abs"] * 3
    assert [record.num_changes for record in report.records] == [3, 0]


def test_a_pass_that_never_ends_is_stopped() -> None:
    report = run_passes(negations(2), [toggle])
    assert not report.records[0].converged
    assert report.records[0].num_changes == 2 * MAX_SWEEPS


def test_disabled_pass_does_not_run() -> None:
    report = run_passes(negations(3), [rename_to_abs], disabled=frozenset({"rename_to_abs"}))
    assert [node.op for node in report.graph] == ["Neg"] * 3
    assert report.records == ()


def test_unknown_name_in_disabled_is_refused() -> None:
    with pytest.raises(KnobError, match=r"unknown pass to disable: nope; passes are toggle"):
        run_passes(negations(1), [toggle], disabled=frozenset({"nope"}))


def test_a_pass_that_breaks_the_graph_is_caught() -> None:
    with pytest.raises(GraphError, match="missing"):
        run_passes(negations(2), [break_graph])


def test_dump_prints_the_graph_before_and_after(tmp_path: Path) -> None:
    run_passes(negations(1), [rename_to_abs, remove_pairs], dump_dir=tmp_path / "dump")
    files = {path.name: path.read_text() for path in (tmp_path / "dump").iterdir()}
    assert sorted(files) == ["00_input.txt", "01_rename_to_abs.txt", "02_remove_pairs.txt"]
    assert "= Neg(%x)" in files["00_input.txt"]
    assert "= Abs(%x)" in files["01_rename_to_abs.txt"]


def test_remove_dead_nodes_keeps_what_outputs_and_bodies_need() -> None:
    live = Node("Add", ("x", "w"), ("y",))
    dead = Node("Mul", ("x", "unread"), ("dead",))
    deader = Node("Exp", ("dead",), ("deader",))
    types = dict.fromkeys(("x", "unused", "y", "dead", "deader"), FLOAT)
    constants = {"w": np.ones(2, np.float32), "unread": np.ones(2, np.float32)}
    graph = Graph("g", ("x", "unused"), ("y",), (live, dead, deader), types, constants)
    result = remove_dead_nodes(graph)
    assert result.nodes == (live,)
    assert set(result.constants) == {"w"}
    assert set(result.types) == {"x", "unused", "y"}
    assert result.inputs == ("x", "unused")
