"""Regions that no native kernel takes, run by ONNX Runtime as sub-models.

The only place that imports onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.engine.scheduler import Stream
from colonnade.errors import CapabilityError, ModelError, RunError
from colonnade.planner.build import FallbackRegion

_SILENT = 4


@dataclass(frozen=True)
class FallbackNames:
    """Values that a region reads and makes, and its nodes for messages."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    nodes: Sequence[tuple[str, str]]
    """(name, op) of every node."""


def fallback_names(region: FallbackRegion) -> FallbackNames:
    """The names of a region of the planner's."""
    return FallbackNames(
        region.inputs, region.outputs, [(node.name, node.op) for node in region.nodes]
    )


class FallbackStep:
    """One region in ONNX Runtime: a session for each number of threads that a stream may have."""

    def __init__(self, model: bytes, names: FallbackNames, thread_counts: Sequence[int]) -> None:
        self.names = names
        self._sessions = {count: self._make_session(model, count) for count in thread_counts}

    def _make_session(self, model: bytes, threads: int):  # type: ignore[no-untyped-def]  # untyped package
        names = self.names
        ort = _import_onnxruntime(names)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime, which would run it, refuses it: {_first_line(error)}",
                node=names.nodes[0][0],
                op=names.nodes[0][1],
            ) from error

    def run(self, values: Mapping[str, np.ndarray], stream: Stream) -> dict[str, np.ndarray]:
        """The region's outputs for the values of its inputs."""
        fitting = [count for count in self._sessions if count <= stream.count]
        session = self._sessions[max(fitting, default=min(self._sessions))]
        feeds = {name: values[name] for name in self.names.inputs}
        try:
            made = session.run(list(self.names.outputs), feeds)
        except Exception as error:
            name, op = self.names.nodes[0]
            raise RunError(
                f"fallback region from node {name!r} ({op}): {_first_line(error)}"
            ) from error
        return dict(zip(self.names.outputs, made, strict=True))


def _import_onnxruntime(names: FallbackNames):  # type: ignore[no-untyped-def]  # untyped package
    try:
        import onnxruntime
    except ImportError as error:
        ops = sorted({op for _, op in names.nodes})
        raise CapabilityError(
            f"operators {ops} have no native kernel and onnxruntime, which would run them, is not "
            "installed; install it with: pip install colonnade[ort]"
        ) from error
    return onnxruntime


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
