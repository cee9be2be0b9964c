"""Patch: a local edit of a Graph, and how one or many of them are applied."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from colonnade.ir.graph import Graph, Node, TensorType, captures


@dataclass(frozen=True)
class Patch:
    """A local edit: `remove` nodes (by identity), `add` others, rename or add values.

    `add` is inserted where the last removed node stood, so its inputs must exist there.
    `rename` maps a value to the one that replaces it in every reader and graph output, but for
    the patch's own `add`. A renamed graph output, or value that a body reads, keeps its name by
    an Identity node; its producer must then be removed.
    """

    remove: tuple[Node, ...] = ()
    add: tuple[Node, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, TensorType] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    """What `explain` says of nodes, by their names."""


def apply_patch(graph: Graph, patch: Patch) -> Graph:
    """The graph after one patch; unread constants stay until `remove_dead_nodes`."""
    return apply_patches(graph, (patch,))[0]


def apply_patches(graph: Graph, patches: Iterable[Patch]) -> tuple[Graph, int]:
    """The graph after every patch that does not touch an earlier one's nodes and values.

    All patches speak of `graph` itself. Returns the number applied: the rest is for the caller
    to find again in the new graph. The first patch always applies.
    """
    accepted = _select(graph, patches)
    if not accepted:
        return graph, 0
    rename = _Renames([patch for patch, _ in accepted])
    removed = {id(node) for patch, _ in accepted for node in patch.remove}
    kept_names = _names_to_keep(graph)
    insert: dict[int, list[Node]] = {}
    for i, (patch, position) in enumerate(accepted):
        added = (*patch.add, *_identities(patch, kept_names))
        insert.setdefault(position, []).extend(rename.apply(node, i) for node in added)
    nodes = insert.get(-1, [])
    for position, node in enumerate(graph.nodes):
        if id(node) not in removed:
            nodes.append(rename.apply(node))
        nodes.extend(insert.get(position, ()))
    types, constants = dict(graph.types), dict(graph.constants)
    for patch, _ in accepted:
        types.update(patch.types)
        constants.update(patch.constants)
    changed = graph.with_changes(nodes=tuple(nodes), types=types, constants=constants)
    return changed, len(accepted)


def _select(graph: Graph, patches: Iterable[Patch]) -> list[tuple[Patch, int]]:
    """The patches that can be applied in one sweep, with the position of their last node."""
    place = {id(node): i for i, node in enumerate(graph.nodes)}
    accepted: list[tuple[Patch, int]] = []
    sweep = _Sweep()
    for patch in patches:
        for node in patch.remove:
            if id(node) not in place:
                raise ValueError(f"a patch removes {node}, which is not in the graph")
        position = max((place[id(node)] for node in patch.remove), default=-1)
        if sweep.accept(patch, position):
            accepted.append((patch, position))
    return accepted


class _Sweep:
    """What the accepted patches touch: removed nodes, and from where values can be read."""

    def __init__(self) -> None:
        self._removed: set[int] = set()
        self._made: set[str] = set()
        self._available: dict[str, float] = {}
        self._first_read: dict[str, int] = {}

    def accept(self, patch: Patch, position: int) -> bool:
        """Take the patch unless it overlaps; a value it changes is readable after `position`."""
        removed = {id(node) for node in patch.remove}
        made = {out for node in patch.add for out in node.outputs if out} | set(patch.constants)
        touched = _touched(patch, made, position)
        read = {value for node in patch.add for value in (*node.inputs, *captures(node))}
        read = (read | set(patch.rename.values())) - made
        if (
            removed & self._removed
            or made & self._made
            or touched.keys() & self._available.keys()
            or any(self._available[v] >= position for v in read if v in self._available)
            or any(at >= self._first_read[v] for v, at in touched.items() if v in self._first_read)
        ):
            return False
        self._removed |= removed
        self._made |= made
        self._available.update(touched)
        for value in read:
            self._first_read[value] = min(position, self._first_read.get(value, position))
        return True


def _touched(patch: Patch, made: set[str], position: int) -> dict[str, float]:
    """Values that mean something else after the patch; infinity for those that are gone."""
    outputs = {out for node in patch.remove for out in node.outputs if out}
    touched: dict[str, float] = {
        value: position if value in made or value in patch.rename else math.inf for value in outputs
    }
    touched.update(dict.fromkeys(patch.rename, position))
    return touched


class _Renames:
    """The renames of several patches, followed through; a patch's own do not hold for its nodes."""

    def __init__(self, patches: Sequence[Patch]) -> None:
        self._rename = {old: new for patch in patches for old, new in patch.rename.items()}
        self._owner = {old: i for i, patch in enumerate(patches) for old in patch.rename}

    def apply(self, node: Node, owner: int | None = None) -> Node:
        """The node with its inputs renamed; `owner` is the patch that adds it."""
        if not any(value in self._rename for value in node.inputs):
            return node
        return replace(node, inputs=tuple(self._follow(value, owner) for value in node.inputs))

    def _follow(self, value: str, owner: int | None) -> str:
        seen: set[str] = set()
        while value in self._rename and value not in seen and self._owner[value] != owner:
            seen.add(value)
            value = self._rename[value]
        return value


def _names_to_keep(graph: Graph) -> set[str]:
    return set(graph.outputs).union(*(captures(node) for node in graph.nodes))


def _identities(patch: Patch, kept_names: set[str]) -> list[Node]:
    """Identity nodes for renamed values whose name is seen outside the nodes' inputs."""
    return [
        Node("Identity", (new,), (old,), name=f"{old}/identity", version=14)
        for old, new in patch.rename.items()
        if old in kept_names
    ]
