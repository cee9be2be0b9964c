"""Half-precision nodes that are left to ONNX Runtime for the sake of their neighbours.

No native kernel computes in float16; some move such values. Alone between nodes of the fallback
they would cut its regions into pieces: each cut costs a call, and a rounding that ONNX Runtime
avoids within a region.
"""

from __future__ import annotations

from collections.abc import Mapping

from colonnade.ir import DType, Graph, Node

ISLAND_REASON = "float16 beside nodes that run in ONNX Runtime"


def find_islands(graph: Graph, fallback: Mapping[int, bool]) -> set[int]:
    """The native nodes (by id) that share a float16 value, directly or through others of their
    kind, with a node of the fallback. `fallback`: by id of node."""
    islands: set[int] = set()
    outside = [node for node in graph.nodes if fallback[id(node)]]
    while outside:
        node = outside.pop()
        for neighbour in _half_precision_neighbours(graph, node):
            if not fallback[id(neighbour)] and id(neighbour) not in islands:
                islands.add(id(neighbour))
                outside.append(neighbour)
    return islands


def _half_precision_neighbours(graph: Graph, node: Node) -> list[Node]:
    halves = [v for v in (*node.inputs, *node.outputs) if v and graph.dtype(v) is DType.FLOAT16]
    makers = [graph.producer[value] for value in halves if value in graph.producer]
    return [*makers, *(reader for value in halves for reader in graph.consumers.get(value, ()))]
