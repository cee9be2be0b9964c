"""One model in several engines, each in its own process: same inputs, same threads, in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from colonnade.bench.agreement import Agreement, compare_outputs
from colonnade.bench.harness import Clock, Schedule, Timing, time_engines
from colonnade.bench.imposed import node_sparsity
from colonnade.bench.layers import NUM_TRACES, Layer, tabulate_layers
from colonnade.bench.memory import MemoryReport, measure_memory
from colonnade.bench.peers import InputSpec, Prepared, Worker
from colonnade.bench.summary import Latency, Ratio, summarise, throughput_ratio
from colonnade.errors import ColonnadeError, InputError, ModelError

REFERENCE = "onnxruntime"
"""Whose answers the others are held against, where it takes part."""
IDLE_CPUS_MAX = 0.1
"""Above this, an engine spins while others have their turn, and a note says so."""
IDLE_WALL_MIN_S = 0.5
"""Less waiting than this says nothing about it."""


@dataclass(frozen=True)
class Workload:
    """A model, the engines that run it, and how."""

    model: Path
    engines: tuple[str, ...]
    threads: int
    streams: int = 1
    """Requests in flight."""
    scheduler: str = "single_stream"
    """How engines that have a choice share the threads between them."""
    schedule: Schedule = field(default_factory=Schedule)
    origin: Path | None = None
    """The user's file, where `model` is a copy with zeros imposed."""
    tolerance: float | None = None
    """Share of the largest expected value that answers may differ by; computed by default."""
    skip_failed: bool = False
    """Go on without a peer that fails, with a note; the first engine may never fail."""
    with_memory: bool = False
    with_trace: bool = False
    with_layers: bool = False
    """Trace the first engine, which must be this one, node by node."""


@dataclass(frozen=True)
class Feed:
    """The inputs of every engine, and how many rows they hold."""

    arrays: Mapping[str, np.ndarray]
    batch_size: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineResult:
    """One engine's figures."""

    engine: str
    version: str
    latency: Latency
    isa: str | None
    load_ms: float
    idle_cpus: float
    agreement: Agreement | None
    """None when there was nothing to compare with."""
    memory: MemoryReport | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What `compare_engines` found; results are in the order of the engines."""

    workload: Workload
    batch_size: int
    shapes: Mapping[str, tuple[int, ...]]
    results: tuple[EngineResult, ...]
    ratios: tuple[Ratio, ...]
    """The first engine over each other one."""
    failures: Mapping[str, str]
    notes: tuple[str, ...]
    timings: tuple[Timing, ...]
    trace: Sequence[Mapping[str, Any]] = ()
    layers: tuple[Layer, ...] = ()

    @property
    def is_agreed(self) -> bool:
        """Whether all answers are close."""
        return all(r.agreement is None or r.agreement.is_close for r in self.results)


Progress = Callable[[str, float | None], None]
"""Is told a stage's name and the share of it that is done; None where that is not known."""


def silence(_: str, __: float | None) -> None:
    """Progress that nobody sees."""


def compare_engines(
    workload: Workload,
    make_feed: Callable[[Sequence[InputSpec]], Feed],
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Comparison:
    """Start, check, time and stop the engines. `make_feed` gets the inputs as the model declares
    them. Raises what an engine raised, unless the workload skips failed peers."""
    if len(set(workload.engines)) != len(workload.engines) or not workload.engines:
        raise InputError(f"engines {list(workload.engines)}: name each one once")
    if not workload.model.is_file():
        raise InputError(f"{workload.model}: no such file")
    with ExitStack() as stack:
        return _Session(workload, progress or silence, clock, stack).compare(make_feed)


class _Session:
    """One comparison, with its workers on a stack that ends them."""

    def __init__(
        self, workload: Workload, progress: Progress, clock: Clock | None, stack: ExitStack
    ) -> None:
        self._workload = workload
        self._progress = progress
        self._clock = clock
        self._stack = stack
        self._failures: dict[str, str] = {}
        self._answers: dict[str, dict[str, np.ndarray]] = {}

    def compare(self, make_feed: Callable[[Sequence[InputSpec]], Feed]) -> Comparison:
        """Everything in order."""
        workload = self._workload
        first = self._start(workload.engines[0])
        self._progress(f"{first.name}: reading {workload.model.name}", None)
        feed = make_feed(first.describe())
        workers = self._prepare_all(first, feed)
        timings = time_engines(
            workers,
            workload.schedule,
            self._clock,
            lambda share: self._progress("measuring", share),
        )
        trace = first.trace() if workload.with_trace else []
        layers = self._tabulate_layers(first) if workload.with_layers else ()
        memory = self._measure_memory(workers) if workload.with_memory else {}
        results = [
            self._result(worker, timing, feed, memory.get(worker.name))
            for worker, timing in zip(workers, timings, strict=True)
        ]
        return Comparison(
            workload=workload,
            batch_size=feed.batch_size,
            shapes={name: array.shape for name, array in feed.arrays.items()},
            results=tuple(results),
            ratios=tuple(
                throughput_ratio(timings[0], peer, workload.streams) for peer in timings[1:]
            ),
            failures=self._failures,
            notes=(*feed.notes, *_fallback_notes(results), *_idle_notes(timings)),
            timings=tuple(timings),
            trace=trace,
            layers=layers,
        )

    def _start(self, name: str) -> Worker:
        self._progress(f"{name}: starting", None)
        workload = self._workload
        worker = Worker(
            name, workload.model, workload.threads, workload.streams, workload.scheduler
        )
        return self._stack.enter_context(worker)

    def _prepare_all(self, first: Worker, feed: Feed) -> list[Worker]:
        """Workers that are ready and have answered once."""
        workers = []
        for name in self._workload.engines:
            try:
                worker = first if name == first.name else self._start(name)
                self._progress(f"{name}: compiling", None)
                worker.prepare(feed.arrays)
                self._answers[name] = worker.run()
            except ColonnadeError as error:
                if name == first.name or not self._workload.skip_failed:
                    raise
                self._failures[name] = error.reason
            else:
                workers.append(worker)
        return workers

    def _tabulate_layers(self, first: Worker) -> tuple[Layer, ...]:
        self._progress(f"{first.name}: layers", None)
        traces = [first.trace() for _ in range(NUM_TRACES)]
        try:
            sparsity = node_sparsity(self._workload.model)
        except ModelError:  # a saved plan, whose weights are packed
            sparsity = {}
        return tabulate_layers(traces, sparsity, self._workload.threads)

    def _measure_memory(self, workers: Sequence[Worker]) -> dict[str, MemoryReport]:
        found = {}
        for worker in workers:
            self._progress(f"{worker.name}: memory", None)
            found[worker.name] = measure_memory(worker)
        return found

    def _result(
        self, worker: Worker, timing: Timing, feed: Feed, memory: MemoryReport | None
    ) -> EngineResult:
        prepared = worker.prepared or Prepared(0.0, None, ())
        return EngineResult(
            engine=worker.name,
            version=worker.version,
            latency=summarise(timing, feed.batch_size),
            isa=prepared.isa,
            load_ms=prepared.load_ms,
            idle_cpus=timing.idle_cpus,
            agreement=self._agreement(worker.name),
            memory=memory,
            details=prepared.details,
        )

    def _agreement(self, name: str) -> Agreement | None:
        if len(self._answers) < 2:
            return None
        expected = self._answers[reference_of(self._answers)]
        return compare_outputs(self._answers[name], expected, self._workload.tolerance)


def reference_of(answers: Mapping[str, Any]) -> str:
    """The engine whose answers the others are held against."""
    return REFERENCE if REFERENCE in answers else next(iter(answers))


def _fallback_notes(results: Sequence[EngineResult]) -> list[str]:
    return [
        f"{result.engine}: {result.details['num_fallback']} nodes run in ONNX Runtime; "
        "`colonnade explain` lists them"
        for result in results
        if result.details.get("num_fallback")
    ]


def _idle_notes(timings: Sequence[Timing]) -> list[str]:
    if len(timings) < 2:
        return []
    return [
        f"{timing.engine} kept {timing.idle_cpus:.2f} CPUs busy while others had their turn"
        for timing in timings
        if timing.idle_cpus > IDLE_CPUS_MAX and timing.idle_wall_s > IDLE_WALL_MIN_S
    ]
