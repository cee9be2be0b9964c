"""Run the float32 graph on the calibration data and learn the range of every value.

The engine computes the values as extra outputs. A first pass finds extremes, a second one, for the
methods that need it, counts in between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from colonnade.engine.compile import compile as compile_model
from colonnade.engine.engine import Engine
from colonnade.engine.tuner import TuneMode
from colonnade.errors import InputError
from colonnade.ir import Graph
from colonnade.quantization.data.source import Sample, Source
from colonnade.quantization.histogram import Extremes, Histogram
from colonnade.quantization.methods import Method, find_range
from colonnade.quantization.ranges import Range, make_range

Progress = Callable[[str, float | None], None]
"""Is told the stage, and the share done where it is known."""


def find_ranges(
    graph: Graph,
    values: Sequence[str],
    source: Source,
    method: Method,
    percentile: float,
    threads: int | None,
) -> dict[str, Range]:
    """The range of each value; raises InputError where one is not finite."""
    if not values:
        return {}
    with compile_with_outputs(graph, values, threads) as engine:
        extremes = _find_extremes(engine, values, source)
        if method == "minmax":
            return {value: make_range(e.low, e.high) for value, e in extremes.items()}
        histograms = {value: _histogram(e) for value, e in extremes.items()}
        for _, arrays in run_samples(engine, values, source):
            for value, array in arrays.items():
                histograms[value].add(array)
    return {value: find_range(h, method, percentile) for value, h in histograms.items()}


def compile_with_outputs(graph: Graph, values: Sequence[str], threads: int | None) -> Engine:
    """An engine that answers with these values as well."""
    extra = [v for v in values if v not in graph.outputs and v not in graph.inputs]
    return compile_graph(graph.with_changes(outputs=(*graph.outputs, *extra)), threads)


def compile_graph(graph: Graph, threads: int | None, tune: TuneMode = "off") -> Engine:
    """An engine for a graph of ONNX operators."""
    from colonnade.onnx.exporter import export_model

    return compile_model(export_model(graph), threads=threads, tune=tune)


def run_samples(
    engine: Engine, values: Sequence[str], source: Source
) -> Iterator[tuple[Sample, Mapping[str, np.ndarray]]]:
    """Each sample with the values that it makes."""
    made = [info.name for info in engine.outputs if info.name in values]
    for sample in source():
        arrays = {v: sample.arrays[v] for v in values if v in sample.arrays}
        yield sample, {**arrays, **engine.run(sample.arrays, made)}


def _find_extremes(engine: Engine, values: Sequence[str], source: Source) -> dict[str, Extremes]:
    extremes = {value: Extremes() for value in values}
    for sample, arrays in run_samples(engine, values, source):
        for value, array in arrays.items():
            extremes[value].add(array)
            if not extremes[value].is_finite:
                raise InputError(
                    f"{sample.label}: value {value!r} of the model is not finite on this sample, "
                    "so it has no range; leave the sample out, or exclude the layers that read it"
                )
    return extremes


def _histogram(extremes: Extremes) -> Histogram:
    found = make_range(extremes.low, extremes.high)
    return Histogram(found.low, found.high)
