"""Engine: a compiled model that runs, explains itself and measures itself."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from colonnade.engine.dispatch import RequestFuture, RequestQueue
from colonnade.engine.inputs import check_inputs, example_inputs, shapes_of
from colonnade.engine.profile import BenchmarkResult, measure
from colonnade.engine.program import (
    NO_BUFFERS,
    Event,
    LoadedProgram,
    NativeStep,
    verify_outputs,
)
from colonnade.engine.scheduler import Scheduler, Stream
from colonnade.engine.session import Session
from colonnade.errors import ColonnadeError, RunError
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
    """A compiled model. Threads may call `run` and `submit` at the same time.

    Made by `colonnade.compile`. A program is built for each new set of input shapes and kept;
    all of them share packed weights. Requests run on the streams of the engine's scheduler
    (docs/guide/scheduling.md). An engine is a context manager that closes it.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        load: Callable[[Shapes], LoadedProgram],
        constant_bytes: Callable[[], int],
        save: Callable[[str | os.PathLike[str], list[LoadedProgram]], None],
        queue: RequestQueue,
        programs: Sequence[LoadedProgram] = (),
    ) -> None:
        self._graph = graph
        self._target = target
        self._load = load
        self._constant_bytes = constant_bytes
        self._save = save
        self._queue = queue
        queue.owner = weakref.ref(self)
        self._programs: OrderedDict[tuple[tuple[int, ...], ...], LoadedProgram] = OrderedDict()
        for program in programs:
            self._programs[self._key(program.shapes)] = program
        self._lock = threading.Lock()
        self._build_lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Inputs in order."""
        return tuple(_info(self._graph, name) for name in self._graph.inputs)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Outputs in order."""
        return tuple(_info(self._graph, name) for name in self._graph.outputs)

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the model file says about itself, by key; a loaded plan does not keep it."""
        return self._graph.metadata

    @property
    def isa(self) -> str:
        """Instruction set that the kernels use."""
        return self._target.isa

    @property
    def threads(self) -> int:
        """Threads of the engine's runtime."""
        return self._queue.dispatcher.threads

    @property
    def scheduler(self) -> Scheduler:
        """How requests share the threads."""
        return self._queue.streams.scheduler

    @property
    def streams(self) -> tuple[int, ...]:
        """Threads of each stream."""
        return tuple(stream.count for stream in self._queue.streams.streams)

    def run(
        self,
        inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray],
        outputs: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Run on arrays, by name or in input order; returns the outputs by name.

        It waits for its turn, then this thread and others of the runtime work on it. Raises
        InputError when names, element types or shapes do not fit, RunError when the data does not
        (an index out of range), memory is short, or the engine is closed.
        """
        self._queue.verify_open()
        try:
            arrays = check_inputs(self._graph, inputs)
            program = self.prepare(shapes_of(arrays))
        except MemoryError as error:
            raise _out_of_memory(error) from error
        return _pick(self.run_program(program, arrays), outputs)

    def session(
        self, states: Mapping[str, str], initial: Mapping[str, np.ndarray] | None = None
    ) -> Session:
        """Calls whose states stay in the engine: `states` says for each such input which output is
        its value in the next call. The first call gets `initial`, or zeros.

        An engine may have any number of sessions. Raises InputError when names, element types or
        shapes do not fit.
        """
        return Session(self, self._graph, states, initial)

    def run_program(
        self,
        program: LoadedProgram,
        arrays: Mapping[str, np.ndarray],
        into: Mapping[str, np.ndarray] = NO_BUFFERS,
    ) -> dict[str, np.ndarray]:
        """Run a program of this engine's on checked arrays; as LoadedProgram.run."""
        try:
            with self._queue.dispatcher.hold(self._queue.streams, self._queue) as stream:
                return program.run(arrays, stream, into)
        except MemoryError as error:
            raise _out_of_memory(error) from error

    def try_run(
        self, program: LoadedProgram, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray] | None:
        """Run a program of this engine's on checked arrays; None where that would have to wait for
        other requests of the runtime."""
        try:
            hold = self._queue.dispatcher.try_hold(self._queue.streams, self._queue)
            if hold is None:
                return None
            with hold as stream:
                return program.run(arrays, stream)
        except MemoryError as error:
            raise _out_of_memory(error) from error

    def submit(
        self,
        inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray],
        outputs: Sequence[str] | None = None,
    ) -> Future[dict[str, np.ndarray]]:
        """As `run`, but returns at once: the future gets the outputs, or whatever `run` would raise.

        Do not change the arrays before it is done. A future that has not started can be cancelled.
        Raises OverloadedError when `queue_depth_max` requests wait already, RunError when the engine
        is closed. When the engine goes away, the futures of waiting requests are cancelled. An operator
        or a callback of a future that waits for one of the same runtime gets RunError.
        """
        future: Future[dict[str, np.ndarray]] = RequestFuture(self._queue.dispatcher)
        try:
            arrays = check_inputs(self._graph, inputs)
        except (ColonnadeError, MemoryError) as error:
            self._queue.verify_open()
            future.set_exception(_in_words(error))
            return future
        request = _Request(arrays, outputs, self.find(shapes_of(arrays)))
        prepare = request.prepare if request.program is None else None
        self._queue.dispatcher.submit(self._queue, future, request.answer, prepare)
        return future

    def close(self) -> None:
        """Take no more requests. Waiting ones are dropped: their futures are cancelled and callers
        of `run` get RunError; those that run already end as usual. More than once is fine."""
        self._queue.dispatcher.close(self._queue)

    def prepare(self, shapes: Shapes) -> LoadedProgram:
        """Build, or find, the program for these input shapes."""
        known = self.find(shapes)
        if known is not None:
            return known
        with self._build_lock:
            return self.find(shapes) or self._keep(self._load(shapes))

    def find(self, shapes: Shapes) -> LoadedProgram | None:
        """The program for these input shapes, if it is built."""
        key = self._key(shapes)
        with self._lock:
            known = self._programs.get(key)
            if known is not None:
                self._programs.move_to_end(key)
            return known

    def _keep(self, program: LoadedProgram) -> LoadedProgram:
        with self._lock:
            self._programs[self._key(program.shapes)] = program
            while len(self._programs) > PROGRAMS_MAX:
                self._programs.popitem(last=False)
        return program

    def _key(self, shapes: Shapes) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(shapes.get(name, ())) for name in self._graph.inputs)

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
            threads=self.threads,
            scheduler=self.scheduler,
            streams=self.streams,
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
        with self._queue.dispatcher.hold(self._queue.streams, self._queue) as stream:
            for step in program.steps:
                if isinstance(step, NativeStep):
                    made, new = step.trace(values, stream)
                    events += new
                    values.update(made)
                else:
                    values.update(step.run(values, stream))
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


@dataclass(slots=True)
class _Request:
    """A submitted request. It does not refer to the engine, so that this can go away before."""

    arrays: Mapping[str, np.ndarray]
    outputs: Sequence[str] | None
    program: LoadedProgram | None

    def prepare(self, engine: Engine) -> None:
        """Build its program."""
        try:
            self.program = engine.prepare(shapes_of(self.arrays))
        except MemoryError as error:
            raise _out_of_memory(error) from error

    def answer(self, _: Engine, stream: Stream) -> dict[str, np.ndarray]:
        """Run it on its stream."""
        assert self.program is not None
        try:
            return _pick(self.program.run(self.arrays, stream), self.outputs)
        except MemoryError as error:
            raise _out_of_memory(error) from error


def _pick(made: dict[str, np.ndarray], outputs: Sequence[str] | None) -> dict[str, np.ndarray]:
    if outputs is None:
        return made
    verify_outputs(made, outputs)
    return {name: made[name] for name in outputs}


def _in_words(error: Exception) -> Exception:
    return _out_of_memory(error) if isinstance(error, MemoryError) else error


def _out_of_memory(error: Exception) -> RunError:
    return RunError(f"not enough memory for these inputs: {error}")


def _info(graph: Graph, name: str) -> TensorInfo:
    dtype = graph.dtype(name)
    known = np.dtype(object) if dtype in (DType.OTHER, DType.BFLOAT16) else dtype.numpy
    return TensorInfo(name, known, graph.shape(name))
