"""Engines timed in turns: a machine that drifts, or that others use, hits all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.engine.compile import compile as compile_model
from colonnade.engine.engine import Engine
from colonnade.engine.runtime import Runtime
from colonnade.ir import Graph

SECONDS = 3.0
ROUNDS_MIN = 7
WARM_UP_RUNS = 3
QUARTILE = 0.25
"""Of single runs. What else a machine does only adds time, so the lower quartile moves less than
the median, and unlike the shortest run it is no accident."""

Arrays = Mapping[str, np.ndarray]
Clock = Callable[[], float]


def compile_on(runtime: Runtime, graph: Graph) -> Engine:
    """An engine that shares its threads with others, as those that run in turns should."""
    from colonnade.onnx.exporter import export_model

    return compile_model(export_model(graph), runtime=runtime)


@dataclass(frozen=True)
class Turns:
    """Milliseconds of each engine: the lower quartile of its runs."""

    ms: tuple[float, ...]
    rounds: int

    def gain(self, first: int = 0, second: int = 1) -> float:
        """How many times as fast the second engine is."""
        return self.ms[first] / self.ms[second]


def time_in_turns(
    engines: Sequence[Engine],
    arrays: Arrays,
    seconds: float = SECONDS,
    clock: Clock = time.perf_counter,
) -> Turns:
    """Run the engines one after the other, again and again, for about `seconds`."""
    for engine in engines:
        for _ in range(WARM_UP_RUNS):
            engine.run(arrays)
    times: list[list[float]] = [[] for _ in engines]
    end = clock() + seconds
    while clock() < end or len(times[0]) < ROUNDS_MIN:
        for engine, taken in zip(engines, times, strict=True):
            start = clock()
            engine.run(arrays)
            taken.append((clock() - start) * 1e3)
    return Turns(tuple(float(np.quantile(t, QUARTILE)) for t in times), len(times[0]))
