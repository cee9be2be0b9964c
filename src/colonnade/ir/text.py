"""Print a Graph, one node a line: what golden tests and `COLONNADE_DUMP_PASSES` show."""

from __future__ import annotations

import numpy as np

from colonnade.ir.graph import AttrValue, Graph, Node, Subgraph
from colonnade.ir.program import Program


def format_graph(graph: Graph) -> str:
    """The graph as text; constants show type only, small integer ones their values."""
    lines = [f"graph {graph.name}"]
    lines += [f"  input %{name}: {graph.types.get(name)}" for name in graph.inputs]
    lines += [f"  {format_node(graph, node)}" for node in graph.nodes]
    lines += [f"  output %{name}" for name in graph.outputs]
    return "\n".join(lines) + "\n"


def format_node(graph: Graph, node: Node) -> str:
    """One line: outputs with types = op(inputs) {attributes}."""
    outs = ", ".join(f"%{out}: {graph.types.get(out)}" for out in node.outputs if out)
    args = ", ".join(_format_operand(graph, value) for value in node.inputs)
    attrs = ", ".join(f"{k}={_format_attr(v)}" for k, v in sorted(node.attrs.items()))
    domain = f"{node.domain}." if node.domain else ""
    return f"{outs} = {domain}{node.op}({args})" + (f" {{{attrs}}}" if attrs else "")


def _format_operand(graph: Graph, value: str) -> str:
    if not value:
        return "-"
    constant = graph.constants.get(value)
    if constant is None:
        return f"%{value}"
    if constant.size <= 8:
        return f"{constant.dtype}{constant.tolist()}"
    return f"const {constant.dtype}{list(constant.shape)}"


def _format_attr(value: AttrValue) -> str:
    if isinstance(value, Subgraph):
        return f"subgraph({len(value.proto)} bytes)"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return f"<{value}>" if isinstance(value, Program) else repr(value)
