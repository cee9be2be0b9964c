"""Time two graphs in turns, so that a machine that drifts hits both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from colonnade.engine.engine import Engine
from colonnade.ir import Graph
from colonnade.quantization.calibrate import compile_graph
from colonnade.quantization.data.source import Arrays
from colonnade.quantization.report import Speed

SECONDS = 2.0
TURNS_MIN = 5
WARM_UP_RUNS = 3


def measure_speed(
    exact: Graph,
    quantized: Graph,
    arrays: Arrays,
    threads: int | None,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Medians over about SECONDS of single runs, one of each engine after the other."""
    with (
        compile_graph(exact, threads, tune="fast") as left,
        compile_graph(quantized, threads, tune="fast") as right,
    ):
        engines = (left, right)
        for engine in engines * WARM_UP_RUNS:
            engine.run(arrays)
        times: tuple[list[float], list[float]] = ([], [])
        end = clock() + SECONDS
        while clock() < end or len(times[0]) < TURNS_MIN:
            for engine, taken in zip(engines, times, strict=True):
                taken.append(_time_ms(engine, arrays, clock))
    return Speed(statistics.median(times[0]), statistics.median(times[1]))


def _time_ms(engine: Engine, arrays: Arrays, clock: Callable[[], float]) -> float:
    start = clock()
    engine.run(arrays)
    return (clock() - start) * 1e3
