"""How much each layer's zeros cost in accuracy: one layer pruned at a time, the rest dense."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from colonnade.engine.engine import Engine
from colonnade.ir import Graph
from colonnade.pruning.layers import Layer
from colonnade.quantization.calibrate import Progress, compile_graph
from colonnade.quantization.data.source import Arrays, Source

PROBES = (0.5, 0.9)
"""Levels that are measured; between them and beyond, the logarithm of the error is a line over that
of the share of weights that stay."""
SAMPLES_MAX = 8
ERROR_MIN = 1e-12

Constants = Mapping[str, np.ndarray]
PruneAt = Callable[[Sequence[float]], Sequence[Constants]]
"""The constants of the model with all layers pruned, for each level."""


def measure_sensitivity(
    graph: Graph,
    layers: Sequence[Layer],
    prune_at: PruneAt,
    source: Source,
    levels: Sequence[float],
    threads: int | None,
    progress: Progress = lambda _, __: None,
) -> dict[str, tuple[float, ...]]:
    """By layer, the relative squared error of the model's outputs at each level."""
    probes = probes_of(levels)
    samples = [sample.arrays for sample in itertools.islice(source(), SAMPLES_MAX)]
    with compile_graph(graph, threads) as engine:
        expected = list(_answers(engine, samples))
    found: dict[str, list[float]] = {layer.name: [] for layer in layers}
    for number, constants in enumerate(prune_at(probes)):
        for place, layer in enumerate(layers):
            share = (number * len(layers) + place) / (len(probes) * len(layers))
            progress(f"pruning {layer.name} alone", share)
            alone = graph.with_changes(constants={**graph.constants, **_own(layer, constants)})
            with compile_graph(alone, threads) as engine:
                found[layer.name].append(relative_error(expected, _answers(engine, samples)))
    return {name: interpolate(probes, errors, levels) for name, errors in found.items()}


def probes_of(levels: Sequence[float]) -> tuple[float, ...]:
    """The levels whose errors are measured; those of the others are read off them.

    >>> probes_of((0.0, 0.5, 0.8, 0.9, 0.95)), probes_of((0.0, 0.75))
    ((0.5, 0.9), (0.75,))
    """
    return tuple(p for p in PROBES if p in levels) or tuple(x for x in levels if x > 0)


def relative_error(
    expected: Sequence[Sequence[np.ndarray]], answers: Iterator[Sequence[np.ndarray]]
) -> float:
    """Squared error over squared value, of all float outputs of all samples."""
    noise = energy = 0.0
    for right, own in zip(expected, answers, strict=True):
        for exact, array in zip(right, own, strict=True):
            noise += float(np.square(array.astype(np.float64) - exact).sum())
            energy += float(np.square(exact.astype(np.float64)).sum())
    return noise / energy if energy else 0.0


def interpolate(
    probes: Sequence[float], errors: Sequence[float], levels: Sequence[float]
) -> tuple[float, ...]:
    """Errors at all levels; 0 at level 0, and never falling."""
    if len(probes) == 1:
        return tuple(errors[0] if level > 0 else 0.0 for level in levels)
    x = -np.log1p(-np.asarray(probes))
    y = np.log(np.maximum(np.maximum.accumulate(errors), ERROR_MIN))
    return tuple(0.0 if level == 0 else _at(-np.log1p(-level), x, y) for level in levels)


def _at(point: float, x: np.ndarray, y: np.ndarray) -> float:
    """Lines between the probes, and the outer ones go on beyond them."""
    right = int(np.clip(np.searchsorted(x, point), 1, len(x) - 1))
    slope = (y[right] - y[right - 1]) / (x[right] - x[right - 1])
    return float(np.exp(y[right - 1] + slope * (point - x[right - 1])))


def _answers(engine: Engine, samples: Sequence[Arrays]) -> Iterator[list[np.ndarray]]:
    for arrays in samples:
        made = engine.run(arrays).values()
        yield [array for array in made if array.dtype.kind == "f"]


def _own(layer: Layer, constants: Constants) -> dict[str, np.ndarray]:
    names = [layer.weights, *([layer.bias.name] if layer.bias else [])]
    return {name: constants[name] for name in names}
