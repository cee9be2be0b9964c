"""Engine: a compiled model that runs, explains itself and measures itself."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colonnade.engine.inputs import check_inputs, example_inputs, shapes_of
from colonnade.engine.profile import BenchmarkResult, measure
from colonnade.engine.program import Event, LoadedProgram, NativeStep
from colonnade.errors import RunError
from colonnade.ir import DType, Graph, Shape
from colonnade.planner.explain import Explanation
from colonnade.planner.select import Target

PROGRAMS_MAX = 16
"""Shapes whose programs are kept; the one unused for longest goes first."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class TensorInfo:
    """Name, element type and shape of an input or output; a symbolic dimension is its name."""

    name: str
    dtype: np.dtype[np.generic]
    shape: Shape | None


class Engine:
    """A compiled model. Threads may call `run` at the same time.

    Made by `colonnade.compile`. A program is built for each new set of input shapes and kept;
    all of them share packed weights.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        load: Callable[[Shapes], LoadedProgram],
        constant_bytes: Callable[[], int],
        save: Callable[[str | os.PathLike[str], list[LoadedProgram]], None],
        programs: Sequence[LoadedProgram] = (),
    ) -> None:
        self._graph = graph
        self._target = target
        self._load = load
        self._constant_bytes = constant_bytes
        self._save = save
        self._programs: OrderedDict[tuple[tuple[int, ...], ...], LoadedProgram] = OrderedDict()
        for program in programs:
            self._programs[tuple(program.shapes.get(name, ()) for name in graph.inputs)] = program
        self._lock = threading.Lock()

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Inputs in order."""
        return tuple(_info(self._graph, name) for name in self._graph.inputs)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Outputs in order."""
        return tuple(_info(self._graph, name) for name in self._graph.outputs)

    @property
    def isa(self) -> str:
        """Instruction set that the kernels use."""
        return self._target.isa

    @property
    def threads(self) -> int:
        """Threads of the engine's runtime."""
        return self._target.threads

    def run(
        self,
        inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray],
        outputs: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Run on arrays, by name or in input order; returns the outputs by name.

        Raises InputError when names, element types or shapes do not fit, RunError when the data
        does not (an index out of range) or memory is short.
        """
        try:
            arrays = check_inputs(self._graph, inputs)
            made = self.prepare(shapes_of(arrays)).run(arrays)
        except MemoryError as error:
            raise RunError(f"not enough memory for these inputs: {error}") from error
        if outputs is None:
            return made
        unknown = [name for name in outputs if name not in made]
        if unknown:
            raise RunError(f"no output named {unknown[0]!r}; the outputs are {sorted(made)}")
        return {name: made[name] for name in outputs}

    def prepare(self, shapes: Shapes) -> LoadedProgram:
        """Build, or find, the program for these input shapes."""
        key = tuple(tuple(shapes.get(name, ())) for name in self._graph.inputs)
        with self._lock:
            if key not in self._programs:
                self._programs[key] = self._load(shapes)
                while len(self._programs) > PROGRAMS_MAX:
                    self._programs.popitem(last=False)
            self._programs.move_to_end(key)
            return self._programs[key]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the programs built so far as a `.colonnade` file, for `colonnade.load`."""
        if not self._programs:
            self.prepare(self._last_shapes())
        self._save(path, list(self._programs.values()))

    def explain(self, shapes: Shapes | None = None) -> Explanation:
        """Per node: kernel, why, layout, bytes, advisories; for the shapes run last by default."""
        program = self._program_for(shapes)
        return Explanation(
            model=self._graph.name,
            isa=self._target.isa,
            threads=self._target.threads,
            shapes=program.shapes,
            nodes=program.program.records,
            stripes=program.program.stripes,
            passes=program.passes,
            arena_bytes=sum(e.arena_bytes for e in program.executors),
            scratch_bytes=sum(e.scratch_bytes for e in program.executors),
            constant_bytes=self._constant_bytes(),
            num_allocations=sum(e.num_allocations for e in program.executors),
        )

    def benchmark(
        self, inputs: Mapping[str, np.ndarray] | None = None, seconds: float = 5.0
    ) -> BenchmarkResult:
        """Time `run` on inputs (random ones by default) for about `seconds`."""
        arrays = inputs if inputs is not None else example_inputs(self._graph, self._last_shapes())
        return measure(lambda: self.run(arrays), seconds)

    def trace(
        self, inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray]
    ) -> list[dict[str, Any]]:
        """One traced run: an event for every call and thread, times in microseconds."""
        arrays = check_inputs(self._graph, inputs)
        program = self.prepare(shapes_of(arrays))
        values: dict[str, np.ndarray] = dict(arrays)
        events: list[Event] = []
        for step in program.steps:
            if isinstance(step, NativeStep):
                made, new = step.trace(values)
                events += new
                values.update(made)
            else:
                values.update(step.run(values))
        start = min((event.start_ns for event in events), default=0)
        return [
            {
                "name": event.label,
                "kernel": event.kernel,
                "thread": event.thread,
                "start_us": (event.start_ns - start) / 1e3,
                "dur_us": event.duration_ns / 1e3,
            }
            for event in events
        ]

    def _program_for(self, shapes: Shapes | None) -> LoadedProgram:
        if shapes is not None:
            return self.prepare(shapes)
        if self._programs:
            return next(reversed(self._programs.values()))
        return self.prepare(self._last_shapes())

    def _last_shapes(self) -> Shapes:
        """The shapes run last; before any run, symbolic dimensions get an example size."""
        if self._programs:
            return next(reversed(self._programs.values())).shapes
        return shapes_of(example_inputs(self._graph, {}))


def _info(graph: Graph, name: str) -> TensorInfo:
    dtype = graph.dtype(name)
    known = np.dtype(object) if dtype in (DType.OTHER, DType.BFLOAT16) else dtype.numpy
    return TensorInfo(name, known, graph.shape(name))
