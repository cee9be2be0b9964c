"""How far the answers of a quantized graph lie from those of the float32 one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.engine.engine import Engine
from colonnade.ir import Graph
from colonnade.quantization.calibrate import compile_with_outputs
from colonnade.quantization.data.source import Source


@dataclass
class Deviation:
    """Sums over all elements compared so far."""

    signal: float = 0.0
    noise: float = 0.0
    max_error: float = 0.0
    peak: float = 0.0
    """Largest magnitude of the float32 answer."""
    count: int = 0

    def add(self, exact: np.ndarray, answer: np.ndarray) -> None:
        """Count one array. Elements that are not finite, as masks make them, are left out where
        they are alike; one that is not alike is an infinite error."""
        wanted, given = exact.astype(np.float64), answer.astype(np.float64)
        if not (np.isfinite(wanted).all() and np.isfinite(given).all()):
            kept = np.isfinite(wanted)
            others_alike = np.array_equal(wanted[~kept], given[~kept], equal_nan=True)
            if not (others_alike and np.isfinite(given[kept]).all()):
                self.noise = self.max_error = math.inf
            kept &= np.isfinite(given)
            wanted, given = wanted[kept], given[kept]
        self.count += wanted.size
        error = given - wanted
        self.signal += float(np.sum(wanted * wanted))
        self.noise += float(np.sum(error * error))
        self.max_error = max(self.max_error, float(np.abs(error).max(initial=0.0)))
        self.peak = max(self.peak, float(np.abs(wanted).max(initial=0.0)))

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise ratio in decibels; infinite without noise."""
        if self.noise == 0.0:
            return math.inf
        if self.noise == math.inf or self.signal == 0.0:
            return -math.inf
        return 10 * math.log10(self.signal / self.noise)


def compare_graphs(
    exact: Graph,
    quantized: Graph,
    values: Sequence[str],
    source: Source,
    threads: int | None,
    samples_max: int | None = None,
) -> dict[str, Deviation]:
    """The deviation of each value, and of every output."""
    names = tuple(dict.fromkeys((*exact.outputs, *values)))
    with (
        compile_with_outputs(exact, values, threads) as left,
        compile_with_outputs(quantized, values, threads) as right,
    ):
        return compare_engines(left, right, names, source, samples_max)


def compare_engines(
    exact: Engine,
    quantized: Engine,
    values: Sequence[str],
    source: Source,
    samples_max: int | None = None,
) -> dict[str, Deviation]:
    """The deviation of each value that both make."""
    found = {value: Deviation() for value in values}
    for sample in itertools.islice(source(), samples_max):
        wanted, given = (engine.run(sample.arrays) for engine in (exact, quantized))
        for value in values:
            if value in wanted and wanted[value].dtype.kind == "f":
                found[value].add(wanted[value], given[value])
    return found
