"""Measures products on this machine, within a budget, and remembers what it measured.

Runs are interleaved: a machine that drifts hits all variants alike. The shortest run counts, since
whatever else the machine does only adds time. Timings are kept in one JSON file for each CPU model
and instruction set; what cannot be read is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from colonnade import _core
from colonnade.engine.runtime import Runtime
from colonnade.engine.scheduler import Stream, Streams
from colonnade.planner.choice import Const, Fed, Made, Trial
from colonnade.planner.plan import (
    Buffer,
    ParallelFor,
    Plan,
    Seq,
    Space,
    Split,
    encode_plan,
)

TuneMode = Literal["off", "fast", "full"]
BUDGET_S: Mapping[str, float] = {"fast": 0.02, "full": 0.2}
"""Seconds of running for each measured layer; packing its weights comes on top."""
ROUNDS_MIN = 5
CACHE_VERSION = 2
_LINE_BYTES = 64
_SPACE_OF = {Fed: Space.INPUT, Const: Space.CONSTANT, Made: Space.OUTPUT}


class Tuner:
    """See planner.select.Tuner. `pack` makes packed weights, or finds those that an engine has.

    Measures on one thread, holding a whole stream of the engine as a request does.
    """

    def __init__(
        self,
        runtime: Runtime,
        streams: Streams,
        isa: str,
        mode: TuneMode,
        cache_path: Path | None,
        pack: Callable[[Const], np.ndarray],
    ) -> None:
        self._runtime = runtime
        self._streams = streams.widest
        self._isa = isa
        self._budget_s = BUDGET_S[mode]
        self._prefix = "" if mode == "fast" else f"{mode} "
        self._cache_path = cache_path
        self._pack = pack
        self._known = _read(cache_path)
        self._is_changed = False

    def time(self, key: str, trials: Callable[[], Sequence[Trial]]) -> Sequence[float] | None:
        """Seconds of each trial."""
        key = self._prefix + key
        if key not in self._known:
            self._known[key] = self._measure(trials())
            self._is_changed = True
        return self._known[key]

    def save(self) -> None:
        """Write what was measured since the last time; a directory that cannot be written is no
        error."""
        if not self._is_changed or self._cache_path is None:
            return
        self._is_changed = False
        try:
            _write(self._cache_path, self._known | _read(self._cache_path))
        except OSError:
            return

    def _measure(self, trials: Sequence[Trial]) -> list[float]:
        loaded = [self._load(trial) for trial in trials]
        with self._runtime.dispatcher.hold(self._streams) as stream:
            return self._time([partial(run, stream) for run in loaded])

    def _time(self, runs: Sequence[Callable[[], object]]) -> list[float]:
        seconds: list[list[float]] = [[] for _ in runs]
        for run in runs:  # pages, caches and the pool's threads
            run()
        begin = time.perf_counter()
        while time.perf_counter() - begin < self._budget_s or len(seconds[0]) < ROUNDS_MIN:
            for run, taken in zip(runs, seconds, strict=True):
                start = time.perf_counter()
                run()
                taken.append(time.perf_counter() - start)
        return [min(taken) for taken in seconds]

    def _load(self, trial: Trial) -> Callable[[Stream], object]:
        arrays = [self._make(operand) for operand in trial.operands]
        spaces = [_SPACE_OF[type(operand)] for operand in trial.operands]
        fed, constants, made = (
            [array for array, own in zip(arrays, spaces, strict=True) if own is space]
            for space in _SPACE_OF.values()
        )
        buffers = tuple(
            Buffer(space, array.nbytes, index=spaces[:i].count(space))
            for i, (array, space) in enumerate(zip(arrays, spaces, strict=True))
        )
        body = Seq(tuple(ParallelFor((call,), Split.UNITS) for call in trial.calls))
        plan = Plan(buffers, tuple(constants), len(fed), len(made), 0, body, self._isa)
        executor = _core.Executor(self._runtime, encode_plan(plan), constants, self._isa)
        return lambda stream: executor.run(fed, made, stream.first, 1)

    def _make(self, operand: Fed | Made | Const) -> np.ndarray:
        return self._pack(operand) if isinstance(operand, Const) else _make_aligned(operand.nbytes)


def _make_aligned(nbytes: int) -> np.ndarray:
    """Bytes at a multiple of 64, as in an arena: loads that cross lines would distort."""
    raw = np.empty(nbytes + 2 * _LINE_BYTES, np.uint8)
    first = -raw.ctypes.data % _LINE_BYTES
    array = raw[first : first + nbytes]
    array[: nbytes // 4 * 4].view(np.float32).fill(1.0)
    array[nbytes // 4 * 4 :].fill(1)
    return array


def find_cache_path(directory: Path, cpu: str, isa: str) -> Path:
    """The file of one CPU model and instruction set."""
    name = hashlib.sha256(cpu.encode()).hexdigest()[:12]
    return directory / "tune" / f"{name}-{isa}.json"


def _read(path: Path | None) -> dict[str, list[float]]:
    """What an earlier process measured; nothing when the file is missing or damaged."""
    if path is None:
        return {}
    try:
        document = json.loads(path.read_text())
        if document["version"] != CACHE_VERSION:
            return {}
        return {
            str(key): [float(second) for second in seconds]
            for key, seconds in document["seconds"].items()
            if len(seconds) == _count(str(key)) and all(second > 0 for second in seconds)
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _count(key: str) -> int:
    """Variants that a key names: its last word is their list."""
    return len(key.rsplit(" ", 1)[-1].split("|")) if key else 0


def _write(path: Path, known: Mapping[str, Sequence[float]]) -> None:
    """Replace the file in one step: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump({"version": CACHE_VERSION, "seconds": known}, file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
