"""One model at many levels of sparsity: every level in every engine, in turns with all others.

All levels stay loaded at once, so that a machine that drifts hits them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from colonnade.bench.agreement import Agreement, compare_outputs
from colonnade.bench.compare import Feed, Progress, Workload, reference_of, silence
from colonnade.bench.harness import Clock, Timing, time_engines
from colonnade.bench.impose import UNSTRUCTURED, verify_level
from colonnade.bench.imposed import Imposed, Imposition, imposed_model
from colonnade.bench.peers import InputSpec, Worker
from colonnade.bench.summary import Latency, Ratio, summarise, throughput_ratio
from colonnade.errors import ColonnadeError, InputError

LEVELS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
GAIN_MIN = 1.02
"""A smaller gain over the dense model is noise: no break-even."""
DENSE = "dense"
"""The engine's own level 0, among those that it can break even with."""

MakeFeed = Callable[[Sequence[InputSpec]], Feed]


@dataclass(frozen=True)
class Sweep:
    """The levels, and what `Workload` says of model, engines and schedule.

    Level 0 comes first; it is added where it is missing. Raises InputError for a level or structure
    that there is not.
    """

    workload: Workload
    levels: tuple[float, ...] = LEVELS
    structure: str = UNSTRUCTURED
    dense: tuple[str, ...] = ()
    """Weights or nodes that stay dense; see `Imposition`."""

    def __post_init__(self) -> None:
        levels = tuple(sorted({0.0, *self.levels}))
        object.__setattr__(self, "levels", levels)
        for level in levels[1:] or levels:
            verify_level(level, self.structure)


@dataclass(frozen=True)
class SweepPoint:
    """One engine at one level."""

    level: float
    zeros: float
    """Share of zeros in the weights that the level is imposed on."""
    engine: str
    version: str
    isa: str | None
    load_ms: float
    latency: Latency
    gain: Ratio
    """Over the same engine at level 0."""
    lead: Ratio | None
    """The first engine over this one, at this level; None for the first."""
    agreement: Agreement | None


@dataclass(frozen=True)
class SweepResult:
    """What `run_sweep` found; points go by level, then by engine."""

    sweep: Sweep
    batch_size: int
    shapes: Mapping[str, tuple[int, ...]]
    points: tuple[SweepPoint, ...]
    imposed: Imposed
    """The weights at the highest level."""
    failures: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def is_agreed(self) -> bool:
        """Whether the engines' answers are close at every level."""
        return all(p.agreement is None or p.agreement.is_close for p in self.points)

    def of(self, engine: str) -> list[SweepPoint]:
        """One engine's points by level."""
        return [point for point in self.points if point.engine == engine]

    @property
    def break_even(self) -> dict[str, float | None]:
        """From which level on the first engine is faster than its dense self, and than each peer."""
        first = self.sweep.workload.engines[0]
        own = self.of(first)
        levels = [point.level for point in own]
        found = {DENSE: find_break_even(levels, [p.gain.ratio for p in own], GAIN_MIN)}
        for peer in dict.fromkeys(p.engine for p in self.points if p.engine != first):
            leads = [p.lead.ratio for p in self.of(peer) if p.lead is not None]
            found[peer] = find_break_even(levels, leads)
        return found


def find_break_even(
    levels: Sequence[float], ratios: Sequence[float], threshold: float = 1.0
) -> float | None:
    """The level above which the ratio stays above the threshold, between two measured ones by a
    straight line; the first level if it always is, None if it is not at the last.

    >>> find_break_even([0.0, 0.5, 0.9], [1.0, 0.5, 2.5])
    0.6
    """
    if not ratios or ratios[-1] <= threshold:
        return None
    found = levels[0]
    points = list(zip(levels, ratios, strict=True))
    for (left, below), (right, above) in pairwise(points):
        if below <= threshold < above:
            share = (threshold - below) / (above - below)
            found = round(left + share * (right - left), 6)
    return found


def run_sweep(
    sweep: Sweep,
    make_feed: MakeFeed,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> SweepResult:
    """Start, check, time and stop every engine at every level. Raises what an engine raised, unless
    the workload skips failed peers: one that fails at a level is left out of all."""
    if not sweep.workload.model.is_file():
        raise InputError(f"{sweep.workload.model}: no such file")
    with ExitStack() as stack:
        return _Session(sweep, progress or silence, clock, stack).run(make_feed)


@dataclass
class _Run:
    """A worker that is ready, and its answer."""

    level: float
    imposed: Imposed
    worker: Worker
    answer: Mapping[str, np.ndarray]


class _Session:
    """One sweep, with its workers on a stack that ends them."""

    def __init__(
        self, sweep: Sweep, progress: Progress, clock: Clock | None, stack: ExitStack
    ) -> None:
        self._sweep = sweep
        self._progress = progress
        self._clock = clock
        self._stack = stack
        self._failures: dict[str, str] = {}
        self._feed: Feed | None = None
        self._runs: list[_Run] = []

    def run(self, make_feed: MakeFeed) -> SweepResult:
        """Everything in order."""
        workload = self._sweep.workload
        for level in self._sweep.levels:
            self._prepare_level(level, make_feed)
        runs = [run for run in self._runs if run.worker.name not in self._failures]
        timings = time_engines(
            [run.worker for run in runs],
            workload.schedule,
            self._clock,
            lambda share: self._progress("measuring", share),
        )
        assert self._feed is not None
        return SweepResult(
            sweep=self._sweep,
            batch_size=self._feed.batch_size,
            shapes={name: array.shape for name, array in self._feed.arrays.items()},
            points=tuple(self._points(runs, timings, self._feed.batch_size)),
            imposed=runs[-1].imposed,
            failures=self._failures,
            notes=self._feed.notes,
        )

    def _prepare_level(self, level: float, make_feed: MakeFeed) -> None:
        """Engines with the model at one level; its file goes when all of them have compiled it."""
        sweep = self._sweep
        structure = sweep.structure if level else UNSTRUCTURED
        self._progress(f"sparsity {level:g}: imposing", None)
        model, imposition = sweep.workload.model, Imposition(level, structure, sweep.dense)
        with imposed_model(model, imposition) as imposed:
            for name in sweep.workload.engines:
                if name not in self._failures:
                    self._try_prepare(name, level, imposed, make_feed)

    def _try_prepare(self, name: str, level: float, imposed: Imposed, make_feed: MakeFeed) -> None:
        workload = self._sweep.workload
        try:
            self._progress(f"sparsity {level:g}: {name}", None)
            worker = Worker(name, imposed.path, workload.threads, workload.streams)
            self._stack.enter_context(worker)
            if self._feed is None:
                self._feed = make_feed(worker.describe())
            worker.prepare(self._feed.arrays)
            self._runs.append(_Run(level, imposed, worker, worker.run()))
        except ColonnadeError as error:
            if name == workload.engines[0] or not workload.skip_failed:
                raise
            self._failures[name] = error.reason

    def _points(
        self, runs: Sequence[_Run], timings: Sequence[Timing], batch_size: int
    ) -> list[SweepPoint]:
        workload = self._sweep.workload
        timed = {
            (run.level, run.worker.name): timing for run, timing in zip(runs, timings, strict=True)
        }
        first = workload.engines[0]
        points = []
        for run in runs:
            name, prepared = run.worker.name, run.worker.prepared
            assert prepared is not None
            timing = timed[run.level, name]
            own = timed[run.level, first]
            points.append(
                SweepPoint(
                    level=run.level,
                    zeros=run.imposed.zeros,
                    engine=name,
                    version=run.worker.version,
                    isa=prepared.isa,
                    load_ms=prepared.load_ms,
                    latency=summarise(timing, batch_size),
                    gain=throughput_ratio(timing, timed[0.0, name], workload.streams),
                    lead=None if name == first else throughput_ratio(own, timing, workload.streams),
                    agreement=self._agreement(run, runs),
                )
            )
        return points

    def _agreement(self, run: _Run, runs: Sequence[_Run]) -> Agreement | None:
        answers = {other.worker.name: other.answer for other in runs if other.level == run.level}
        if len(answers) < 2:
            return None
        expected = answers[reference_of(answers)]
        return compare_outputs(run.answer, expected, self._sweep.workload.tolerance)
