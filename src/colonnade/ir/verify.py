"""Check a Graph's own rules; run after import and after every pass."""

from __future__ import annotations

from colonnade.ir.graph import Graph, Node, captures
from colonnade.ir.program import Program, verify_program


class GraphError(ValueError):
    """A pass or an importer broke the Graph's rules: a bug, never the user's fault."""


def verify_graph(graph: Graph) -> None:
    """Raise GraphError unless values are unique, defined before use and typed."""
    known = set(graph.inputs) | set(graph.constants)
    if len(set(graph.inputs)) != len(graph.inputs):
        raise GraphError("duplicate graph input")
    for node in graph.nodes:
        _verify_node(graph, node, known)
        known.update(out for out in node.outputs if out)
    for out in graph.outputs:
        if out not in known:
            raise GraphError(f"graph output {out!r} is never made")


def _verify_node(graph: Graph, node: Node, known: set[str]) -> None:
    for value in (*node.inputs, *captures(node)):
        if value and value not in known:
            raise GraphError(f"{node} reads {value!r} before it is made")
    for out in node.outputs:
        if out and out in known:
            raise GraphError(f"{node} makes {out!r} a second time")
        if out and out not in graph.types:
            raise GraphError(f"{node}: output {out!r} has no type")
    for attr in node.attrs.values():
        if isinstance(attr, Program):
            verify_program(attr)
