"""Engines that are timed in turns, each on a model file of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from colonnade.bench.harness import Schedule, time_engines
from colonnade.bench.peers import Worker

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """An engine, its file, and what is set in its process's environment."""

    label: str
    engine: str
    model: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """The median of all timed runs, and the outputs in the model's order."""

    median_ms: float
    answers: tuple[np.ndarray, ...]


def time_in_turns(
    candidates: Sequence[Candidate], feeds: Feeds, threads: int, schedule: Schedule
) -> dict[str, Measured]:
    """By label. Raises what Worker raises when an engine refuses its model."""
    with ExitStack() as stack:
        workers = [stack.enter_context(_start(found, feeds, threads)) for found in candidates]
        answers = [_answers(worker) for worker in workers]
        timings = time_engines(workers, schedule)
    return {
        candidate.label: Measured(float(np.median(timing.times_ms)), answer)
        for candidate, timing, answer in zip(candidates, timings, answers, strict=True)
    }


def time_few_runs(candidate: Candidate, feeds: Feeds, threads: int, runs: int) -> Measured:
    """For a candidate that is too slow for turns: one run first, then `runs` timed ones."""
    with _start(candidate, feeds, threads) as worker:
        answers = _answers(worker)
        times_ns = worker.measure(runs).times_ns
    return Measured(float(np.median(times_ns)) / 1e6, answers)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two arrays as vectors: 1 for the same direction."""
    flat_a, flat_b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(flat_a @ flat_b / (np.linalg.norm(flat_a) * np.linalg.norm(flat_b)))


def _start(candidate: Candidate, feeds: Feeds, threads: int) -> Worker:
    worker = Worker(candidate.engine, candidate.model, threads, environment=candidate.environment)
    try:
        worker.prepare(feeds)
    except BaseException:
        worker.close()
        raise
    return worker


def _answers(worker: Worker) -> tuple[np.ndarray, ...]:
    return tuple(worker.run().values())
