"""How far the answers of the pruned model lie from the dense one's."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from colonnade.ir import Graph
from colonnade.pruning.report import OutputRecord
from colonnade.quantization.calibrate import compile_graph
from colonnade.quantization.data.source import Source
from colonnade.quantization.deviation import Deviation

SAMPLES_MAX = 64
"""Samples that outputs are compared on."""


@dataclass
class OutputSums:
    """Sums over what was compared of an output so far."""

    deviation: Deviation = field(default_factory=Deviation)
    rows: int = 0
    agreed: int = 0

    def add(self, exact: np.ndarray, answer: np.ndarray) -> None:
        """Count the answers to one sample."""
        self.deviation.add(exact, answer)
        if exact.ndim == 2 and exact.shape[1] > 1:
            self.rows += len(exact)
            is_number = ~np.isnan(exact).any(1) & ~np.isnan(answer).any(1)
            self.agreed += int(np.sum((exact.argmax(1) == answer.argmax(1)) & is_number))

    def record(self, name: str) -> OutputRecord:
        """What came of it."""
        mse = self.deviation.noise / max(self.deviation.count, 1)
        agreement = self.agreed / self.rows if self.rows else None
        return OutputRecord(name, self.deviation.sqnr_db, mse, agreement)


def compare_outputs(
    dense: Graph, pruned: Graph, source: Source, threads: int | None
) -> tuple[tuple[OutputRecord, ...], int]:
    """A record of each float output, and the number of samples."""
    found: dict[str, OutputSums] = {}
    count = 0
    with compile_graph(dense, threads) as left, compile_graph(pruned, threads) as right:
        for sample in itertools.islice(source(), SAMPLES_MAX):
            count += 1
            exact, answers = left.run(sample.arrays), right.run(sample.arrays)
            for name, array in exact.items():
                if array.dtype.kind == "f":
                    found.setdefault(name, OutputSums()).add(array, answers[name])
    return tuple(output.record(name) for name, output in found.items()), count
