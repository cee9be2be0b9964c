"""Draft: everything that is known once ranges are; it writes a graph for any choice of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from colonnade.ir import Graph, Node
from colonnade.quantization.place import Placement, place
from colonnade.quantization.ranges import Range, Scale, choose_scale
from colonnade.quantization.weights import fits_float32
from colonnade.quantization.write_qdq import write_qdq

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class Draft:
    """A float32 graph, the ranges of values that may be quantized, and what the user excludes."""

    graph: Graph
    ranges: Mapping[str, Range]
    is_excluded: Callable[[Node], str]
    per_channel: bool

    def place(self, left_out: Mapping[str, str] = NOTHING) -> Placement:
        """Where 8 bits go; `left_out` gives reasons for nodes, by first output, to stay float32."""

        def reason(node: Node) -> str:
            return left_out.get(node.outputs[0]) or self.is_excluded(node)

        return place(self.graph, reason)

    def write(self, placement: Placement) -> Graph:
        """The graph in QDQ form."""
        return write_qdq(
            self.graph, placement, self._scales(placement), per_channel=self.per_channel
        )

    def out_of_range(self) -> dict[str, str]:
        """Products whose scales float32 cannot multiply, with the reason to leave them out."""
        placement = self.place()
        scales = self._scales(placement)
        found = {}
        for node in self.graph.nodes:
            weights = placement.products.get(node.outputs[0])
            if weights is None:
                continue
            x = scales[placement.group[node.inputs[0]]]
            if not fits_float32(self.graph.constants[weights.value], float(x.scale)):
                found[node.outputs[0]] = "the scale of its products is beyond float32"
        return found

    def _scales(self, placement: Placement) -> dict[str, Scale]:
        """Values that share a scale get the union of their ranges."""
        joined: dict[str, Range] = {}
        for value in placement.values:
            found, root = self.ranges[value], placement.group[value]
            joined[root] = joined[root].union(found) if root in joined else found
        return {root: choose_scale(found) for root, found in joined.items()}
