"""Regions that no native kernel takes, run by ONNX Runtime as sub-models.

The only place that imports onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from colonnade.errors import CapabilityError, ModelError, RunError
from colonnade.ir import Graph
from colonnade.planner.build import FallbackRegion

_SILENT = 4


class FallbackStep:
    """One region in an ONNX Runtime session of its own."""

    def __init__(self, model: bytes, region: FallbackRegion, threads: int) -> None:
        ort = _import_onnxruntime(region)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.region = region
        try:
            self._session = ort.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime, which would run it, refuses it: {_first_line(error)}",
                node=region.nodes[0].name,
                op=region.nodes[0].op,
            ) from error

    def run(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The region's outputs for the values of its inputs."""
        feeds = {name: values[name] for name in self.region.inputs}
        try:
            made = self._session.run(list(self.region.outputs), feeds)
        except Exception as error:
            node = self.region.nodes[0]
            raise RunError(
                f"fallback region from node {node.name!r} ({node.op}): {_first_line(error)}"
            ) from error
        return dict(zip(self.region.outputs, made, strict=True))


def _import_onnxruntime(region: FallbackRegion):  # type: ignore[no-untyped-def]  # untyped package
    try:
        import onnxruntime
    except ImportError as error:
        ops = sorted({node.op for node in region.nodes})
        raise CapabilityError(
            f"operators {ops} have no native kernel and onnxruntime, which would run them, is not "
            "installed; install it with: pip install colonnade[ort]"
        ) from error
    return onnxruntime


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def region_graph(graph: Graph, region: FallbackRegion) -> Graph:
    """The region as a graph of its own."""
    return graph.with_changes(nodes=region.nodes, inputs=region.inputs, outputs=region.outputs)
