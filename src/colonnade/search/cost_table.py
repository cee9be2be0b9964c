"""What each layer costs at each level of sparsity, measured inside of the whole model.

The model is compiled once for each level, with all layers at that level, and traced; so a layer's
cost is that of the kernel that the engine chose for it, in the place where it runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from colonnade import knobs
from colonnade.engine.engine import Engine
from colonnade.engine.loader import cpu_model
from colonnade.engine.runtime import Runtime
from colonnade.ir import Graph
from colonnade.pruning.layers import Layer
from colonnade.quantization.calibrate import Progress
from colonnade.search.content import hash_content
from colonnade.search.levels import levels_of, with_zeros
from colonnade.search.timing import QUARTILE, Arrays, compile_on
from colonnade.sparsity.patterns import Pattern

ROUNDS_MIN, ROUNDS_MAX = 5, 25
"""Traced runs of each level."""
SECONDS = 20.0
"""For all of them, unless ROUNDS_MIN take longer."""
RUNS = 3
"""Of the dense model in each round, end to end."""
VERSION = 2


@dataclass(frozen=True)
class CostTable:
    """Milliseconds by layer and level, and of the whole dense model."""

    pattern: str
    levels: tuple[float, ...]
    layers: Mapping[str, tuple[float, ...]]
    """A layer may always run as at a lower level, so a row never rises."""
    dense_ms: float
    """End to end."""

    @property
    def rest_ms(self) -> float:
        """Of everything that is no layer here: it stays whatever is pruned."""
        return max(self.dense_ms - sum(row[0] for row in self.layers.values()), 0.0)

    @property
    def least_ms(self) -> float:
        """With every layer at its cheapest level."""
        return self.rest_ms + sum(min(row) for row in self.layers.values())


def measure_costs(
    graph: Graph,
    layers: Sequence[Layer],
    pattern: Pattern,
    arrays: Arrays,
    runtime: Runtime,
    progress: Progress = lambda _, __: None,
) -> CostTable:
    """The table for one set of inputs; kept in the cache by CPU, model, shapes and threads."""
    levels = levels_of(pattern)
    with ExitStack() as stack:
        progress("compiling the dense model", None)
        dense = stack.enter_context(compile_on(runtime, graph))
        path = _cache_path(dense.isa)
        key = cost_key(graph, layers, pattern, arrays, dense.threads, levels)
        known = _read(path).get(key)
        if known is not None:
            return known
        engines = [dense]
        for number, level in enumerate(levels[1:], 1):
            progress(f"compiling at {level:.0%} zeros", number / len(levels))
            shares = dict.fromkeys((layer.name for layer in layers), level)
            sparse = with_zeros(graph, layers, shares, pattern)
            engines.append(stack.enter_context(compile_on(runtime, sparse)))
        progress("measuring layers", None)
        dense_ms, rows = _measure_in_turns(engines, layers, arrays)
    table = make_table(str(pattern), levels, rows, dense_ms)
    _write(path, key, table)
    return table


def make_table(
    pattern: str, levels: Sequence[float], rows: Mapping[str, Sequence[float]], dense_ms: float
) -> CostTable:
    """The table of what was measured. Layers that take longer when they are traced than the whole
    model does otherwise are made to fit into it, all by one factor and at every level."""
    traced = sum(row[0] for row in rows.values())
    factor = min(1.0, dense_ms / traced) if traced > 0 else 1.0
    falling = {
        name: tuple((np.minimum.accumulate(row) * factor).tolist()) for name, row in rows.items()
    }
    return CostTable(pattern, tuple(levels), falling, dense_ms)


def _measure_in_turns(
    engines: Sequence[Engine], layers: Sequence[Layer], arrays: Arrays
) -> tuple[float, dict[str, list[float]]]:
    """Milliseconds of the dense model, the first engine, end to end; and by layer, traced at each
    level: the lower quartile over rounds."""
    whole: list[float] = []
    seen: dict[str, list[list[float]]] = {x.name: [[] for _ in engines] for x in layers}
    owners = {node.name: layer.name for layer in layers for node in layer.nodes}
    end = time.perf_counter() + SECONDS
    for number in range(ROUNDS_MAX):
        if number >= ROUNDS_MIN and time.perf_counter() > end:
            break
        for place, engine in enumerate(engines):
            sums = dict.fromkeys(seen, 0.0)
            for event in engine.trace(arrays):
                owner = owners.get(str(event["name"]))
                if owner is not None:
                    sums[owner] += float(event["dur_us"]) / 1e3 / engine.threads
            for name, ms in sums.items():
                seen[name][place].append(ms)
            if place == 0:
                whole += _time_runs(engine, arrays)
    return float(np.quantile(whole, QUARTILE)), {
        name: [float(np.quantile(times, QUARTILE)) for times in rows] for name, rows in seen.items()
    }


def _time_runs(engine: Engine, arrays: Arrays) -> list[float]:
    """Milliseconds of each run."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        engine.run(arrays)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def _cache_path(isa: str) -> Path:
    name = hashlib.sha256(cpu_model().encode()).hexdigest()[:12]
    return knobs.cache_dir() / "costs" / f"{name}-{isa}.json"


def cost_key(
    graph: Graph,
    layers: Sequence[Layer],
    pattern: Pattern,
    arrays: Arrays,
    threads: int,
    levels: Sequence[float],
) -> str:
    """All that changes the times, CPU and instruction set aside. Of float constants only the zeros:
    the same network trained otherwise costs the same."""
    facts = {
        "engine": [version("colonnade"), knobs.stripes(), sorted(knobs.disabled_passes())],
        "model": hash_content(graph, with_values=False),
        "layers": [layer.name for layer in layers],
        "inputs": {name: list(array.shape) for name, array in arrays.items()},
        "pattern": str(pattern),
        "threads": threads,
        "levels": list(levels),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, CostTable]:
    """What was measured before; what cannot be read is measured anew."""
    try:
        document = json.loads(path.read_text())
        if document["version"] != VERSION:
            return {}
        return {
            key: CostTable(
                found["pattern"],
                tuple(found["levels"]),
                {name: tuple(row) for name, row in found["layers"].items()},
                float(found["dense_ms"]),
            )
            for key, found in document["tables"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write(path: Path, key: str, table: CostTable) -> None:
    """A directory that cannot be written is no error."""
    tables = {name: asdict(found) for name, found in {**_read(path), key: table}.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w") as file:
            json.dump({"version": VERSION, "tables": tables}, file)
        Path(name).replace(path)
    except OSError:
        return
