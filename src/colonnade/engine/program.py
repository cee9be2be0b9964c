"""A Program loaded and ready: native executors and fallback sessions in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from colonnade import _core
from colonnade.engine.scheduler import Stream
from colonnade.errors import RunError
from colonnade.ir import Graph, is_static
from colonnade.planner.build import NativeRegion, Program
from colonnade.planner.explain import PassRecord
from colonnade.planner.plan import encode_plan

_INDEX_OUT_OF_RANGE = 1
NO_BUFFERS: Mapping[str, np.ndarray] = {}


class Step(Protocol):
    """A region that can run."""

    def run(self, values: Mapping[str, np.ndarray], stream: Stream) -> dict[str, np.ndarray]:
        """The region's outputs for the values of its inputs, on the threads of a stream."""


@dataclass(frozen=True)
class NativeParts:
    """A native region as it runs and as it is saved: words, constants, names and types."""

    words: np.ndarray
    constants: Sequence[np.ndarray]
    isa: str
    labels: Sequence[tuple[str, str]]
    """(node, kernel) of every call."""
    inputs: Sequence[str]
    outputs: Sequence[str]
    output_types: Sequence[tuple[tuple[int, ...], np.dtype[np.generic]]]


def native_parts(region: NativeRegion, graph: Graph) -> NativeParts:
    """The parts of a planned region."""
    plan = region.plan
    return NativeParts(
        encode_plan(plan), plan.constants, plan.isa,
        [(call.label, call.kernel) for call in plan.calls()],
        region.inputs, region.outputs, [_output_type(graph, name) for name in region.outputs],
    )  # fmt: skip


class NativeStep:
    """A plan in the native executor."""

    def __init__(self, parts: NativeParts, runtime: Any) -> None:
        self.parts = parts
        self.executor = _core.Executor(runtime, parts.words, list(parts.constants), parts.isa)

    def run(
        self,
        values: Mapping[str, np.ndarray],
        stream: Stream,
        into: Mapping[str, np.ndarray] = NO_BUFFERS,
    ) -> dict[str, np.ndarray]:
        """The region's outputs for the values of its inputs; written into `into` where it has
        their name: C-contiguous arrays of their type."""
        inputs = [values[name] for name in self.parts.inputs]
        outputs = [
            into[name] if name in into else np.empty(shape, dtype)
            for name, (shape, dtype) in zip(
                self.parts.outputs, self.parts.output_types, strict=True
            )
        ]
        code, position, value, limit, label = self.executor.run(
            inputs, outputs, stream.first, stream.count
        )
        if code:
            raise RunError(_run_error(code, position, value, limit, label))
        return dict(zip(self.parts.outputs, outputs, strict=True))

    def trace(
        self, values: Mapping[str, np.ndarray], stream: Stream
    ) -> tuple[dict[str, np.ndarray], list[Event]]:
        """As run, with an event for every call and thread."""
        inputs = [values[name] for name in self.parts.inputs]
        outputs = [np.empty(shape, dtype) for shape, dtype in self.parts.output_types]
        rows = self.executor.trace(inputs, outputs, stream.first, stream.count)
        events = [
            Event(self.parts.labels[call][0], self.parts.labels[call][1], thread, start, duration)
            for call, thread, start, duration in rows
        ]
        return dict(zip(self.parts.outputs, outputs, strict=True)), events


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

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        stream: Stream,
        into: Mapping[str, np.ndarray] = NO_BUFFERS,
    ) -> dict[str, np.ndarray]:
        """The graph outputs, in order; native steps write those of `into` there."""
        if self._whole is not None:
            return self._whole.run(inputs, stream, into)
        graph = self.program.graph
        values: dict[str, np.ndarray] = dict(inputs)
        for step in self.steps:
            if isinstance(step, NativeStep):
                values.update(step.run(values, stream, into))
            else:
                values.update(step.run(values, stream))
        return {name: _result(name, graph, values, inputs) for name in graph.outputs}

    @cached_property
    def _whole(self) -> NativeStep | None:
        """The step that is the whole program, and whose outputs are the answer as they are."""
        graph = self.program.graph
        (step, *others) = self.steps or (None,)
        if others or not isinstance(step, NativeStep):
            return None
        is_answer = list(step.parts.outputs) == list(graph.outputs)
        kept = {*graph.constants, *graph.inputs}
        return step if is_answer and kept.isdisjoint(graph.outputs) else None

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


def verify_outputs(made: Mapping[str, np.ndarray], outputs: Sequence[str]) -> None:
    """Raise RunError for a name that is no output."""
    unknown = [name for name in outputs if name not in made]
    if unknown:
        raise RunError(f"no output named {unknown[0]!r}; the outputs are {sorted(made)}")
