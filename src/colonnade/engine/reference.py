"""runtime="reference": the optimised graph in numpy, node by node."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from colonnade.engine.scheduler import Stream
from colonnade.errors import ModelError
from colonnade.ir import Graph
from colonnade.reference import has_reference, run_graph


class ReferenceStep:
    """The whole graph as one step."""

    def __init__(self, graph: Graph) -> None:
        missing = [node for node in graph.nodes if not has_reference(node)]
        if missing:
            raise ModelError(
                'runtime="reference" has no semantics for it',
                node=missing[0].name,
                op=missing[0].op,
            )
        self._graph = graph

    def run(self, values: Mapping[str, np.ndarray], _: Stream) -> dict[str, np.ndarray]:
        """The graph outputs for the values of the graph inputs."""
        return run_graph(self._graph, {name: values[name] for name in self._graph.inputs})
