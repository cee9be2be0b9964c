"""Time sparse layers against the dense kernel, alone, in turns: python benchmarks/sparse_layers.py.

The linear layers of BERT-base at 2,048 columns and the 1x1 convolutions of ResNet-50 at batch 16,
at several shares of zeros, and structures of zeros at the same share. Figures are ratios of
medians. Writes benchmarks/results/sparse_layers.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np

import colonnade
from colonnade import _core
from colonnade.bench.impose import impose_mask
from colonnade.planner.cost import choose_k_block
from colonnade.planner.plan import (
    Buffer,
    Call,
    ParallelFor,
    Param,
    Plan,
    Seq,
    Space,
    Split,
    encode_plan,
)

RESULTS = Path(__file__).resolve().parent / "results" / "sparse_layers.json"
NO_EPILOGUE: tuple[Param, ...] = (-math.inf, math.inf, (), ())
LINES = 16
"""Floats of a cache line."""

# name: (m, k, columns)
BERT = {
    "attention 768x768": (768, 768, 2048),
    "up 3072x768": (3072, 768, 2048),
    "down 768x3072": (768, 3072, 2048),
}
RESNET = {
    "reduce 64x256": (64, 256, 16 * 56 * 56),
    "expand 256x64": (256, 64, 16 * 56 * 56),
    "reduce 128x512": (128, 512, 16 * 28 * 28),
    "expand 512x128": (512, 128, 16 * 28 * 28),
    "reduce 256x1024": (256, 1024, 16 * 14 * 14),
    "expand 1024x256": (1024, 256, 16 * 14 * 14),
    "reduce 512x2048": (512, 2048, 16 * 7 * 7),
    "expand 2048x512": (2048, 512, 16 * 7 * 7),
}


class Layer:
    """Dense and sparse kernels of one shape, on buffers of their own."""

    def __init__(self, sizes: tuple[int, int, int], threads: int) -> None:
        self.m, self.k, self.columns = sizes
        self._isa = _core.best_isa()
        self._lanes = _core.panel_lanes(self._isa)
        self._runtime = colonnade.Runtime(threads)
        panels = -(-self.columns // self._lanes)
        self._x = _aligned(panels * self.k * self._lanes)
        self._y = _aligned(panels * self.m * self._lanes)

    def dense(self, weights: np.ndarray) -> Callable[[], object]:
        """The dense kernel on [m, k] weights."""
        row = _core.choose_matmul(self._isa, self.m, self.k, self.columns)[0]
        packed = _core.pack_matmul(row, weights, self.m, self.k, False)
        head = (row, self.m, self.k, self.columns, 1)
        return self._load("matmul_columns", packed, head)

    def sparse(self, weights: np.ndarray) -> Callable[[], object]:
        """The sparse kernel, with the cost model's depth blocks."""
        row, _, k_block_max = _core.choose_sparse(self._isa, False)
        density = np.count_nonzero(weights) / weights.size
        k_block = choose_k_block(self.k, density, k_block_max)
        packed = _core.pack_sparse(row, weights, 1, self.m, self.k, k_block)
        head = (row, self.m, self.k, self.columns, k_block, 1)
        return self._load("sparse_columns", packed, head)

    def _load(
        self, kernel: str, packed: np.ndarray, head: tuple[Param, ...]
    ) -> Callable[[], object]:
        buffers = (
            Buffer(Space.INPUT, self._x.nbytes),
            Buffer(Space.CONSTANT, packed.nbytes),
            Buffer(Space.OUTPUT, self._y.nbytes),
        )
        call = Call(kernel, (0, 1, -1, -1, 2), (*head, *NO_EPILOGUE), kernel)
        body = Seq((ParallelFor((call,), Split.UNITS),))
        plan = Plan(buffers, (packed,), 1, 1, 0, body, self._isa)
        executor = _core.Executor(self._runtime, encode_plan(plan), [packed], self._isa)
        threads = self._runtime.threads
        return lambda: executor.run([self._x], [self._y], 0, threads)


def _aligned(count: int) -> np.ndarray:
    raw = np.ones(count + LINES, np.float32)
    first = -(raw.ctypes.data // 4) % LINES
    return raw[first : first + count]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything; 0 when done."""
    chosen = _parse(arguments)
    rows: list[dict[str, Any]] = []
    for group, layers in (("BERT-base", BERT), ("ResNet-50 1x1", RESNET)):
        for name, sizes in layers.items():
            rows += _measure_layer(group, name, sizes, chosen.threads, chosen.rounds)
    _print_means(rows)
    document = {"isa": _core.best_isa(), "threads": chosen.threads, "layers": rows}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time sparse layers against the dense kernel.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args(arguments)


def _measure_layer(
    group: str, name: str, sizes: tuple[int, int, int], threads: int, rounds: int
) -> list[dict[str, Any]]:
    layer = Layer(sizes, threads)
    weights = np.random.default_rng(0).standard_normal(sizes[:2]).astype(np.float32)
    kinds = {
        "80%": (0.8, "unstructured"),
        "90%": (0.9, "unstructured"),
        "95%": (0.95, "unstructured"),
        "75%": (0.75, "unstructured"),
        "75% 1:4": (0.75, "1:4"),
        "75% 4x1": (0.75, "4x1"),
        "90% 4x1": (0.9, "4x1"),
    }
    runs = {"dense": layer.dense(weights)}
    for kind, (sparsity, structure) in kinds.items():
        mask = impose_mask(weights, sparsity, structure)
        runs[kind] = layer.sparse(np.where(mask, weights, np.float32(0)))
    seconds = _time(runs, rounds)
    found = [
        {
            "model": group, "layer": name, "zeros": kind, "dense_ms": seconds["dense"] * 1e3,
            "sparse_ms": seconds[kind] * 1e3, "gain": seconds["dense"] / seconds[kind],
        }
        for kind in kinds
    ]  # fmt: skip
    print(f"{group}, {name}: " + ", ".join(f"{r['zeros']} {r['gain']:.2f}x" for r in found))
    return found


def _time(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in taken.items()}


def _print_means(rows: Sequence[dict[str, Any]]) -> None:
    for group in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == group]
        for kind in dict.fromkeys(row["zeros"] for row in own):
            gains = [row["gain"] for row in own if row["zeros"] == kind]
            mean = geometric_mean(gains)
            print(f"{group}, {kind} zeros: {mean:.2f}x the dense kernel (least {min(gains):.2f})")


if __name__ == "__main__":
    raise SystemExit(main())
