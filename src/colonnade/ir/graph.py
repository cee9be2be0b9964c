"""Graph and Node: the compiler's one data structure.

A Graph is immutable; a pass returns Patches (patch.py) and the runner applies them. Values are
named by unique strings; the empty string marks an absent optional input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from colonnade.ir.dtype import DType
from colonnade.ir.program import Program
from colonnade.ir.shape import Shape


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape; shape None means that even the rank is unknown."""

    dtype: DType
    shape: Shape | None

    def __str__(self) -> str:
        dims = (
            "?"
            if self.shape is None
            else ",".join("?" if d is None else str(d) for d in self.shape)
        )
        return f"{self.dtype.value}[{dims}]"


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A body of If, Loop or Scan, kept as serialised GraphProto: it runs by fallback only."""

    proto: bytes
    captures: tuple[str, ...]
    """Names of outer values that the body reads."""


AttrValue = (
    int | float | str | bytes | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | np.ndarray
    | Subgraph | Program
)  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One operation. `domain` is "" for ONNX, "colonnade" for our fused operations."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, AttrValue] = field(default_factory=dict)
    name: str = ""
    domain: str = ""
    version: int = 0
    """Opset version of `domain` that the node was written for."""

    def __str__(self) -> str:
        where = f" (opset {self.version})" if not self.domain else f" ({self.domain})"
        return f"node {self.name!r} ({self.op}{where})"


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, types of every value, constants by name."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, TensorType]
    constants: Mapping[str, np.ndarray]
    opsets: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    @cached_property
    def producer(self) -> dict[str, Node]:
        """The node that makes each value."""
        return {out: node for node in self.nodes for out in node.outputs if out}

    @cached_property
    def consumers(self) -> dict[str, tuple[Node, ...]]:
        """The nodes that read each value, with subgraph captures; once per reading node."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys((*node.inputs, *captures(node))):
                if value:
                    readers.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in readers.items()}

    def sole_consumer(self, value: str) -> Node | None:
        """The only reader of a value that is not a graph output, else None."""
        readers = self.consumers.get(value, ())
        return readers[0] if len(readers) == 1 and value not in self.outputs else None

    def shape(self, value: str) -> Shape | None:
        """Shape of a value, or None when its rank is unknown."""
        known = self.types.get(value)
        return known.shape if known else None

    def dtype(self, value: str) -> DType:
        """Element type of a value; OTHER when it is unknown."""
        known = self.types.get(value)
        return known.dtype if known else DType.OTHER

    def with_changes(self, **changes: object) -> Graph:
        """A copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]  # dataclasses.replace is untyped


def captures(node: Node) -> tuple[str, ...]:
    """Outer values that the node's bodies read."""
    bodies = [value for value in node.attrs.values() if isinstance(value, Subgraph)]
    return tuple(name for body in bodies for name in body.captures)
