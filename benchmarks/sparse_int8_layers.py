"""Time sparse 8-bit layers against the dense 8-bit kernel: python benchmarks/sparse_int8_layers.py.

The linear layers of BERT-base at 128 columns, bytes in and out, with several structures of zeros,
on one and on two threads. Every round runs each kernel once, in another order, so that what else
the machine does falls on all alike; figures are ratios of medians and of minima, on one thread of
CPU time, which leaves out what others take. A sparse kernel
is that of the faster of the two depth blocks that the planner measures. Writes
benchmarks/results/sparse_int8_layers.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import geometric_mean, median

import numpy as np

import colonnade
from colonnade import _core
from colonnade.bench.impose import impose_mask
from colonnade.planner.cost import BYTE_BLOCK_SCALES, choose_byte_block
from colonnade.planner.lower.byte_product import find_fours
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
from colonnade.planner.split import SPARSE_ROW_BLOCK, choose_blocks

RESULTS = Path(__file__).resolve().parent / "results" / "sparse_int8_layers.json"
NO_EPILOGUE: tuple[Param, ...] = (-math.inf, math.inf, (), ())
COLUMNS = 128
# m, k
LAYERS = {"768 to 768": (768, 768), "768 to 3072": (3072, 768), "3072 to 768": (768, 3072)}
# zeros, structure, gain over dense that is wanted on each layer
KINDS = {
    "1x4 80%": (0.8, "1x4", 2.5),
    "1x4 90%": (0.9, "1x4", 4.0),
    "unstructured 80%": (0.8, "unstructured", 1.4),
    "unstructured 90%": (0.9, "unstructured", 2.2),
    "4x1 80%": (0.8, "4x1", None),
    "4x1 90%": (0.9, "4x1", None),
    "2:4": (0.5, "2:4", None),
    "1:4": (0.75, "1:4", None),
}
Run = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """A sparse kernel of one layer against the dense one."""

    layer: str
    threads: int
    zeros: str
    fours: float
    """Share of fours along the depth that hold a weight."""
    dense_ms: float
    sparse_ms: float
    gain: float
    """Of medians."""
    gain_of_minima: float
    wanted: float | None


class Layer:
    """Kernels of one shape, on buffers of their own."""

    def __init__(self, m: int, k: int, threads: int) -> None:
        self._m, self._k = m, k
        self._isa = _core.best_isa()
        self._lanes = _core.panel_lanes(self._isa)
        self._row = _core.choose_byte_matmul(self._isa)[0]
        self._runtime = colonnade.Runtime(threads)
        rng = np.random.default_rng(0)
        panels = self._panels = -(-COLUMNS // self._lanes)
        self._x = _aligned(panels * k * self._lanes)
        self._x[:] = rng.integers(0, 256, self._x.size)
        self._y = _aligned(panels * m * self._lanes)
        self._scale, self._zero = np.array([0.02], np.float32), np.array([128], np.uint8)

    def dense(self, w: np.ndarray) -> Run:
        """The dense kernel on int8 [m, k]."""
        tiles = -(-self._m // 4)
        blocks = choose_blocks(self._panels, tiles, self._runtime.threads)
        packed = _core.pack_byte_matmul(self._row, w, self._m, self._k)
        return self._load("qmatmul_columns", w, packed, (COLUMNS, blocks))

    def sparse(self, w: np.ndarray, scale: float) -> Run:
        """The sparse kernel, depth blocks `scale` times those that fill L1."""
        largest = _core.choose_sparse(self._isa, False)[2]
        wanted = choose_byte_block(find_fours(w[:, :, None]), self._lanes, scale)
        block = min(wanted, largest, self._k // 4)
        blocks = choose_blocks(self._panels, -(-self._m // SPARSE_ROW_BLOCK), self._runtime.threads)
        packed = _core.pack_byte_sparse(self._row, w, self._m, self._k, [], block)
        return self._load("qsparse_columns", w, packed, (COLUMNS, block, blocks))

    def _load(self, kernel: str, w: np.ndarray, packed: np.ndarray, sizes: tuple[int, ...]) -> Run:
        constants = [
            packed, np.full(self._m, 0.001, np.float32), w.sum(axis=1, dtype=np.int32),
            self._scale, self._zero,
        ]  # fmt: skip
        buffers = (
            Buffer(Space.INPUT, self._x.nbytes),
            *(Buffer(Space.CONSTANT, a.nbytes, index=i) for i, a in enumerate(constants)),
            Buffer(Space.OUTPUT, self._y.nbytes),
        )
        operands = (0, 1, 2, 3, -1, 4, 5, 4, 5, 6)
        params = (self._row, self._m, self._k, *sizes, *NO_EPILOGUE)
        body = Seq((ParallelFor((Call(kernel, operands, params, kernel),), Split.UNITS),))
        plan = Plan(buffers, tuple(constants), 1, 1, 0, body, self._isa)
        executor = _core.Executor(self._runtime, encode_plan(plan), constants, self._isa)
        threads = self._runtime.threads
        return lambda: executor.run([self._x], [self._y], 0, threads)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything; 0 when done."""
    chosen = _parse(arguments)
    rows = [
        row
        for threads in chosen.threads
        for name, sizes in LAYERS.items()
        for row in _measure_layer(name, sizes, threads, chosen.rounds)
    ]
    _print_means(rows)
    document = {"isa": _core.best_isa(), "layers": [asdict(row) for row in rows]}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time sparse 8-bit layers against dense ones.")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=101)
    return parser.parse_args(arguments)


def _measure_layer(name: str, sizes: tuple[int, int], threads: int, rounds: int) -> list[Row]:
    layer = Layer(*sizes, threads)
    real = np.random.default_rng(1).standard_normal(sizes).astype(np.float32)
    runs = {"dense": layer.dense(_quantize(real))}
    fours = {}
    for kind, (zeros, structure, _) in KINDS.items():
        w = _quantize(np.where(impose_mask(real, zeros, structure), real, np.float32(0)))
        fours[kind] = find_fours(w[:, :, None])
        for scale in BYTE_BLOCK_SCALES:
            runs[f"{kind} x{scale:g}"] = layer.sparse(w, scale)
    taken = _time(runs, rounds, time.process_time if threads == 1 else time.perf_counter)
    rows = []
    for kind, (_, _, wanted) in KINDS.items():
        own = [taken[f"{kind} x{scale:g}"] for scale in BYTE_BLOCK_SCALES]
        sparse, dense = min(own, key=median), taken["dense"]
        rows.append(
            Row(
                name, threads, kind, round(fours[kind], 3), median(dense) * 1e3,
                median(sparse) * 1e3, median(dense) / median(sparse), min(dense) / min(sparse),
                wanted,
            )
        )  # fmt: skip
    print(f"{name}, {threads} threads, dense {rows[0].dense_ms:.2f} ms")
    for row in rows:
        print(f"  {row.zeros:17} {row.gain:5.2f}x, of minima {row.gain_of_minima:5.2f}x")
    return rows


def _aligned(size: int) -> np.ndarray:
    """Bytes from the start of a cache line on, as activations inside of a plan are."""
    line = 64
    memory = np.zeros(size + line, np.uint8)
    first = -memory.ctypes.data % line
    return memory[first : first + size]


def _quantize(weights: np.ndarray) -> np.ndarray:
    """int8, a scale for each row."""
    largest = np.maximum(np.abs(weights).max(axis=1, keepdims=True), 1e-6)
    rounded: np.ndarray = np.rint(weights / largest * 127).astype(np.int8)
    return rounded


def _time(
    runs: Mapping[str, Run], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in runs}
    names, rng = list(runs), np.random.default_rng(2)
    for run in runs.values():
        run()
    for _ in range(rounds):
        for number in rng.permutation(len(names)):
            start = clock()
            runs[names[number]]()
            taken[names[number]].append(clock() - start)
    return taken


def _print_means(rows: Sequence[Row]) -> None:
    for threads in dict.fromkeys(row.threads for row in rows):
        for kind in KINDS:
            own = [row for row in rows if row.threads == threads and row.zeros == kind]
            mean = geometric_mean([row.gain for row in own])
            low = geometric_mean([row.gain_of_minima for row in own])
            wanted = f", wanted {own[0].wanted:g}" if own[0].wanted is not None else ""
            print(f"{threads} threads, {kind}: {mean:.2f}x (of minima {low:.2f}){wanted}")


if __name__ == "__main__":
    raise SystemExit(main())
