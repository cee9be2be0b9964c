"""Patterns and rewrite rules: what our own fusions and users' rules are written in.

A pattern is an expression of `op(...)`, `var(...)` and `const(...)`:

    >>> x = var("x")
    >>> silu = op("Mul", x, op("Sigmoid", x))

It matches a node from its output back to its inputs. Add and Mul match with their operands in
either order. A variable that occurs twice must be the same value both times. Inner results must
have no reader outside the match and be no graph output: the match is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from colonnade.ir import AttrValue, Graph, Node, Patch, TensorType

COMMUTATIVE = frozenset({"Add", "Mul"})


@dataclass(frozen=True)
class Var:
    """Any value, bound to a name. With `constant`, only a compile-time constant."""

    name: str
    constant: bool = False


@dataclass(frozen=True)
class ConstPattern:
    """A constant with one element, equal to `value` within `tolerance` (relative)."""

    value: float
    tolerance: float = 1e-4


@dataclass(frozen=True)
class OpPattern:
    """A node of this op whose inputs match, and whose attributes equal those given."""

    op: str
    inputs: tuple[Pattern, ...]
    domain: str = ""
    attrs: Mapping[str, AttrValue] = field(default_factory=dict)
    name: str = ""
    """Binds the node, for `Match.nodes`."""


Pattern = Var | ConstPattern | OpPattern


def var(name: str, *, constant: bool = False) -> Var:
    """A named value; `constant` limits it to constants."""
    return Var(name, constant)


def const(value: float, tolerance: float = 1e-4) -> ConstPattern:
    """A constant with this one value."""
    return ConstPattern(value, tolerance)


def op(
    op_name: str, *inputs: Pattern, domain: str = "", name: str = "", **attrs: AttrValue
) -> OpPattern:
    """A node; attributes left out may have any value."""
    return OpPattern(op_name, inputs, domain, attrs, name)


@dataclass(frozen=True)
class Match:
    """A matched pattern: values by variable name, nodes from the output back."""

    graph: Graph
    values: Mapping[str, str]
    named: Mapping[str, Node]
    nodes: tuple[Node, ...]

    @property
    def root(self) -> Node:
        """The node whose output the match replaces."""
        return self.nodes[0]

    def constant(self, name: str) -> np.ndarray:
        """Array of a variable declared constant."""
        return self.graph.constants[self.values[name]]

    def type_of(self, name: str) -> TensorType:
        """Type of a variable's value."""
        return self.graph.types[self.values[name]]


Replacement = Callable[[Match], "Patch | Node | None"]


@dataclass(frozen=True)
class RewriteRule:
    """Replace what `pattern` matches. Several patterns may share one replacement.

    `replacement(match)` returns the node (or Patch) that takes over, or None to leave the match
    alone; a returned Node must make the root's outputs.
    """

    name: str
    patterns: tuple[Pattern, ...]
    replacement: Replacement

    @property
    def __name__(self) -> str:  # the pass runner's name for it
        return self.name

    def __call__(self, graph: Graph) -> Iterator[Patch]:
        """Patches for every match, no two of which share a node."""
        taken: set[int] = set()
        for node in graph.nodes:
            for pattern in self.patterns:
                match = match_pattern(pattern, node, graph)
                if match is None or any(id(n) in taken for n in match.nodes):
                    continue
                patch = _as_patch(match, self.replacement(match))
                if patch is not None:
                    taken |= {id(n) for n in match.nodes}
                    yield patch
                    break


def _as_patch(match: Match, made: Patch | Node | None) -> Patch | None:
    return Patch(remove=match.nodes, add=(made,)) if isinstance(made, Node) else made


def match_pattern(pattern: Pattern, node: Node, graph: Graph) -> Match | None:
    """The match whose root is `node`, or None."""
    if not isinstance(pattern, OpPattern):
        return None
    for bindings in _match_node(pattern, node, graph, _Bindings()):
        if _is_closed(bindings.nodes, graph):
            return Match(graph, bindings.values, bindings.named, bindings.nodes)
    return None


@dataclass(frozen=True)
class _Bindings:
    values: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, Node] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()


def _match_node(
    pattern: OpPattern, node: Node, graph: Graph, bound: _Bindings
) -> Iterator[_Bindings]:
    if (node.op, node.domain) != (pattern.op, pattern.domain):
        return
    if any(not _same_attr(node.attrs.get(k), v) for k, v in pattern.attrs.items()):
        return
    inputs = [value for value in node.inputs if value]
    if len(inputs) != len(pattern.inputs):
        return
    nodes = bound.nodes if any(n is node for n in bound.nodes) else (*bound.nodes, node)
    named = {**bound.named, pattern.name: node} if pattern.name else bound.named
    base = _Bindings(bound.values, named, nodes)
    yield from _match_inputs(pattern.inputs, tuple(inputs), graph, base)
    if pattern.op in COMMUTATIVE and len(inputs) == 2:
        yield from _match_inputs(pattern.inputs, (inputs[1], inputs[0]), graph, base)


def _match_inputs(
    patterns: tuple[Pattern, ...], values: tuple[str, ...], graph: Graph, bound: _Bindings
) -> Iterator[_Bindings]:
    if not patterns:
        yield bound
        return
    for first in _match_value(patterns[0], values[0], graph, bound):
        yield from _match_inputs(patterns[1:], values[1:], graph, first)


def _match_value(
    pattern: Pattern, value: str, graph: Graph, bound: _Bindings
) -> Iterator[_Bindings]:
    if isinstance(pattern, Var):
        if pattern.constant and value not in graph.constants:
            return
        if bound.values.get(pattern.name, value) == value:
            yield _Bindings({**bound.values, pattern.name: value}, bound.named, bound.nodes)
    elif isinstance(pattern, ConstPattern):
        if is_scalar_constant(graph, value, pattern.value, pattern.tolerance):
            yield bound
    elif value in graph.producer:
        yield from _match_node(pattern, graph.producer[value], graph, bound)


def is_scalar_constant(graph: Graph, value: str, expected: float, tolerance: float = 1e-4) -> bool:
    """True when the value is a one-element numeric constant near `expected`."""
    array = graph.constants.get(value)
    if array is None or array.size != 1 or array.dtype.kind not in "fiu":
        return False
    return abs(float(array.reshape(-1)[0]) - expected) <= tolerance * max(abs(expected), 1e-30)


def _same_attr(got: AttrValue | None, expected: AttrValue) -> bool:
    return type(got) is type(expected) and bool(np.all(np.asarray(got == expected)))


def _is_closed(nodes: Iterable[Node], graph: Graph) -> bool:
    """No result but the root's is read outside the match."""
    inside = list(nodes)
    for node in inside[1:]:
        for out in filter(None, node.outputs):
            if out in graph.outputs:
                return False
            if any(all(r is not n for n in inside) for r in graph.consumers.get(out, ())):
                return False
    return True
