"""Names: who makes a value, who reads it, in which order nodes can run, what bodies capture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from onnx import AttributeProto, GraphProto, NodeProto

from colonnade.errors import ModelError
from colonnade.onnx.budget import Budget

_MAX_SHOWN = 100


@dataclass(frozen=True)
class Scope:
    """A graph whose names are in order."""

    order: tuple[int, ...]
    """Indices of the nodes, each after the makers of what it reads."""
    captures: dict[int, tuple[str, ...]]
    """Names that a node's bodies read from outside, by the node's index."""
    free: tuple[str, ...]
    """Names that the graph reads and does not make."""


def shown(name: str | bytes) -> str:
    """A name as an error shows it: escaped, and never long."""
    return repr(name if len(name) <= _MAX_SHOWN else name[:_MAX_SHOWN]) + (
        "..." if len(name) > _MAX_SHOWN else ""
    )


def node_label(node: NodeProto, index: int) -> str:
    """What errors and the Graph call a node; a made-up name for one that has none."""
    name = node.name or f"{node.op_type or 'node'}_{index}"
    return name if isinstance(name, str) and len(name) <= _MAX_SHOWN else shown(name)[1:-1]


def check_name(name: str | bytes, what: str, budget: Budget) -> None:
    """Raise ModelError for a name that is no text, too long, or holds NUL."""
    if not isinstance(name, str):  # protobuf gives bytes for what is not UTF-8
        raise ModelError(f"{what} {shown(name)} is not valid UTF-8")
    if len(name) > budget.max_name_bytes:
        raise ModelError(
            f"{what} {shown(name)} has {len(name)} characters, at most {budget.max_name_bytes} "
            "are supported"
        )
    if "\0" in name:
        raise ModelError(f"{what} {shown(name)} holds a NUL character")


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g


def resolve(graph: GraphProto, budget: Budget, *, is_body: bool = False) -> Scope:
    """Check the names of a graph and of the bodies in it.

    Raises ModelError for a name that is made twice or never, and for a cycle.
    """
    given = _given_names(graph, budget)
    outputs = [value.name for value in graph.output]
    scope = resolve_nodes(graph.node, given, outputs, budget)
    if scope.free and not is_body:
        _raise_undefined(graph, scope, budget)
    return scope


def resolve_nodes(
    nodes: Sequence[NodeProto], given: set[str], outputs: Iterable[str], budget: Budget
) -> Scope:
    """The scope of nodes in which the names `given` are known from the start."""
    made = dict.fromkeys(given, -1)
    captures: dict[int, tuple[str, ...]] = {}
    reads: list[tuple[str, ...]] = []
    for i, node in enumerate(nodes):
        inner = _captures(node, budget)
        if inner:
            captures[i] = inner
        reads.append((*filter(None, node.input), *inner))
        _add_outputs(node, i, made, budget)
    free = dict.fromkeys(name for names in reads for name in names if name not in made)
    free.update(dict.fromkeys(name for name in outputs if name not in made))
    return Scope(_order(nodes, reads, made), captures, tuple(free))


def _given_names(graph: GraphProto, budget: Budget) -> set[str]:
    """Inputs and initializers; an initializer may have the name of an input."""
    given: set[str] = set()
    for value in graph.input:
        check_name(value.name, "graph input", budget)
        if value.name in given or not value.name:
            raise ModelError(f"graph input {shown(value.name)} has no name of its own")
        given.add(value.name)
    initializers: set[str] = set()
    tensors = [tensor.name for tensor in graph.initializer]
    for name in (*tensors, *(sparse.values.name for sparse in graph.sparse_initializer)):
        check_name(name, "initializer", budget)
        if name in initializers or not name:
            raise ModelError(f"{'duplicate' if name else 'nameless'} initializer {shown(name)}")
        initializers.add(name)
    return given | initializers


def _captures(node: NodeProto, budget: Budget) -> tuple[str, ...]:
    free: dict[str, None] = {}
    for body in bodies(node):
        free.update(dict.fromkeys(resolve(body, budget, is_body=True).free))
    return tuple(free)


def _add_outputs(node: NodeProto, index: int, made: dict[str, int], budget: Budget) -> None:
    for name in node.output:
        if not name:
            continue
        check_name(name, f"output of node {node_label(node, index)!r}", budget)
        if name in made:
            raise ModelError(
                f"output {shown(name)} is made a second time; every value needs one maker",
                node=node_label(node, index),
                op=node.op_type,
            )
        made[name] = index


def _order(
    nodes: Sequence[NodeProto], reads: list[tuple[str, ...]], made: dict[str, int]
) -> tuple[int, ...]:
    """The nodes' own order where that works, else one that does."""
    makers = [sorted({made[name] for name in names if made.get(name, -1) >= 0}) for names in reads]
    if all(not before or before[-1] < i for i, before in enumerate(makers)):
        return tuple(range(len(nodes)))
    waiting = [len(before) for before in makers]
    readers: list[list[int]] = [[] for _ in nodes]
    for i, before in enumerate(makers):
        for maker in before:
            readers[maker].append(i)
    order = [i for i, count in enumerate(waiting) if count == 0]
    for i in order:  # grows while it is walked
        for reader in readers[i]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                order.append(reader)
    if len(order) < len(nodes):
        raise _cycle_error(nodes, makers, set(range(len(nodes))) - set(order))
    return tuple(order)


def _cycle_error(
    nodes: Sequence[NodeProto], makers: list[list[int]], stuck: set[int]
) -> ModelError:
    """Walk back from a stuck node until one comes a second time."""
    path = [min(stuck)]
    place = {path[0]: 0}
    while True:
        before = next(maker for maker in makers[path[-1]] if maker in stuck)
        if before in place:
            break
        place[before] = len(path)
        path.append(before)
    cycle = [node_label(nodes[i], i) for i in reversed(path[place[before] :])]
    text = " -> ".join(cycle[:8]) + (" -> ..." if len(cycle) > 8 else f" -> {cycle[0]}")
    return ModelError(
        f"cycle of {len(cycle)} nodes: {text}", node=cycle[0], op=nodes[before].op_type
    )


def _raise_undefined(graph: GraphProto, scope: Scope, budget: Budget) -> None:
    missing = set(scope.free)
    for i, node in enumerate(graph.node):
        for name in (*node.input, *scope.captures.get(i, ())):
            if name in missing:
                check_name(name, f"input of node {node_label(node, i)!r}", budget)
                raise ModelError(
                    f"undefined input {shown(name)}: no node, graph input or initializer makes it",
                    node=node_label(node, i),
                    op=node.op_type,
                )
    raise ModelError(f"graph output {shown(scope.free[0])} is never made")
