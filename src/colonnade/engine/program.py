"""A Program loaded and ready: native executors and fallback sessions in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from colonnade import _core
from colonnade.engine.fallback import FallbackStep
from colonnade.errors import RunError
from colonnade.ir import Graph, is_static
from colonnade.planner.build import NativeRegion, Program
from colonnade.planner.explain import PassRecord
from colonnade.planner.plan import encode_plan

_INDEX_OUT_OF_RANGE = 1


class Step(Protocol):
    """A region that can run."""

    def run(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The region's outputs for the values of its inputs."""


class NativeStep:
    """A plan in the native executor."""

    def __init__(self, region: NativeRegion, graph: Graph, runtime: Any) -> None:
        self.region = region
        self.executor = _core.Executor(
            runtime, encode_plan(region.plan), list(region.plan.constants), region.plan.isa
        )
        self._labels = [(call.label, call.kernel) for call in region.plan.calls()]
        self._outputs = [_output_type(graph, name) for name in region.outputs]

    def run(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The region's outputs for the values of its inputs."""
        inputs = [values[name] for name in self.region.inputs]
        outputs = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        code, position, value, limit, label = self.executor.run(inputs, outputs)
        if code:
            raise RunError(_run_error(code, position, value, limit, label))
        return dict(zip(self.region.outputs, outputs, strict=True))

    def trace(self, values: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[Event]]:
        """As run, with an event for every call and thread."""
        inputs = [values[name] for name in self.region.inputs]
        outputs = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        rows = self.executor.trace(inputs, outputs)
        events = [
            Event(*self._labels[call], thread, start_ns, duration_ns)
            for call, thread, start_ns, duration_ns in rows
        ]
        return dict(zip(self.region.outputs, outputs, strict=True)), events


@dataclass(frozen=True, slots=True)
class Event:
    """A call's work on one thread."""

    label: str
    kernel: str
    thread: int
    start_ns: int
    duration_ns: int


def _output_type(graph: Graph, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    shape = graph.shape(name)
    assert is_static(shape)
    return shape, graph.dtype(name).numpy


def _run_error(code: int, position: int, value: int, limit: int, label: str) -> str:
    if code == _INDEX_OUT_OF_RANGE:
        return (
            f"node {label!r}: index {value} at position {position} is out of range "
            f"[-{limit}, {limit})"
        )
    return f"node {label!r}: bad value {value} at position {position}"


@dataclass(frozen=True)
class LoadedProgram:
    """A program for one set of input shapes."""

    program: Program
    steps: Sequence[Step]
    passes: Sequence[PassRecord]
    shapes: Mapping[str, tuple[int, ...]]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The graph outputs, in order."""
        graph = self.program.graph
        values: dict[str, np.ndarray] = dict(inputs)
        for step in self.steps:
            values.update(step.run(values))
        return {name: _result(name, graph, values, inputs) for name in graph.outputs}

    @property
    def executors(self) -> list[Any]:
        """The native executors."""
        return [step.executor for step in self.steps if isinstance(step, NativeStep)]


def _result(
    name: str,
    graph: Graph,
    values: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
) -> np.ndarray:
    """An output that is an input or a constant is copied: the caller owns what it gets."""
    if name in graph.constants:
        return graph.constants[name].copy()
    return values[name].copy() if name in inputs else values[name]
