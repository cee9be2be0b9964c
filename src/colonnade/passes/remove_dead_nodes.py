"""Drop what no graph output needs."""

from __future__ import annotations

from colonnade.ir import Graph, Node, captures


def remove_dead_nodes(graph: Graph) -> Graph:
    """Drop nodes, constants and types that no graph output needs; inputs stay."""
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(out in needed for out in node.outputs if out):
            kept.append(node)
            needed.update(value for value in (*node.inputs, *captures(node)) if value)
    made = {out for node in kept for out in node.outputs if out}
    named = needed | made | set(graph.inputs)
    return graph.with_changes(
        nodes=tuple(reversed(kept)),
        types={name: known for name, known in graph.types.items() if name in named},
        constants={name: array for name, array in graph.constants.items() if name in needed},
    )
