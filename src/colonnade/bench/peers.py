"""Engines in worker processes: start, ask, stop."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np

from colonnade import knobs
from colonnade.bench.worker import ENGINES, ProtocolError, read_message, write_message
from colonnade.errors import (
    CapabilityError,
    ColonnadeError,
    InputError,
    ModelError,
    RunError,
)

WORKER = Path(__file__).with_name("worker.py")
ENGINE_NAMES = tuple(ENGINES)
START_TIMEOUT_S = 120.0
PREPARE_TIMEOUT_S = 1800.0
STOP_TIMEOUT_S = 5.0
STDERR_LINES = 5

Shape = tuple[int | str | None, ...]
_LINK = re.compile(r" \[docs/errors\.md#\w+\]$")
"""How colonnade's own messages end; the error made from one ends so again."""


@dataclass(frozen=True)
class InputSpec:
    """An input as a model declares it: a dimension is a size, a symbol's name, or None."""

    name: str
    dtype: np.dtype[np.generic]
    shape: Shape | None
    planned: tuple[int, ...] | None = None
    """The shape that a saved plan was made for last."""


@dataclass(frozen=True)
class Turn:
    """Runs one after another: each one's time, the whole time, CPU time before and after."""

    times_ns: Sequence[int]
    wall_ns: int
    cpu_start_ns: int
    cpu_end_ns: int


@dataclass(frozen=True)
class MemoryUse:
    """Resident bytes now and at most since the last reset."""

    rss_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Prepared:
    """What an engine says of a model that it made ready."""

    load_ms: float
    isa: str | None
    outputs: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=dict)


class TimedEngine(Protocol):
    """What the harness needs of an engine; a worker process, or a fake in tests."""

    @property
    def name(self) -> str:
        """The engine's name in reports."""

    def measure(self, iterations: int) -> Turn:
        """Time that many runs."""


class Worker:
    """One engine with one model in a process of its own. Use as a context manager.

    Its Python is this one, or COLONNADE_PEER_<NAME>_PYTHON. `environment` is set for it on top of
    this process's. Every method raises RunError when the
    process dies, ModelError when the engine refuses the model.
    """

    def __init__(
        self,
        name: str,
        model: Path,
        threads: int,
        streams: int = 1,
        scheduler: str = "single_stream",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if name not in ENGINES:
            raise InputError(f"unknown engine {name!r}; the engines are {', '.join(ENGINES)}")
        self.name = name
        self._python = str(knobs.peer_python(name) or sys.executable)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the worker
        self._process = _spawn(self._python, self._stderr, environment or {})
        try:
            opened = self._ask(
                {
                    "do": "open",
                    "engine": name,
                    "model": str(model.resolve()),
                    "threads": threads,
                    "streams": streams,
                    "scheduler": scheduler,
                },
                timeout_s=START_TIMEOUT_S,
            )
        except BaseException:
            self.close()
            raise
        self.version: str = opened["version"]
        self.library_bytes: int = opened["rss_bytes"] or 0
        self.prepared: Prepared | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def describe(self) -> list[InputSpec]:
        """The model's inputs as it declares them."""
        found = self._ask({"do": "describe"}, timeout_s=PREPARE_TIMEOUT_S)["inputs"]
        return [
            InputSpec(
                i["name"],
                np.dtype(i["dtype"]),
                None if i["shape"] is None else tuple(i["shape"]),
                None if i.get("planned") is None else tuple(i["planned"]),
            )
            for i in found
        ]

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Prepared:
        """Compile for the shapes of `feeds` and keep the arrays as the inputs of every run."""
        shapes = {name: list(array.shape) for name, array in feeds.items()}
        reply = self._ask({"do": "prepare", "shapes": shapes}, timeout_s=PREPARE_TIMEOUT_S)
        self._ask({"do": "feed"}, feeds)
        self.prepared = Prepared(
            reply["load_ms"], reply["isa"], tuple(reply["outputs"]), reply.get("details", {})
        )
        return self.prepared

    def run(self) -> dict[str, np.ndarray]:
        """The outputs by name."""
        return self._exchange({"do": "run"})[1]

    def measure(self, iterations: int) -> Turn:
        """Time that many runs."""
        reply = self._ask({"do": "measure", "iterations": iterations})
        return Turn(reply["times_ns"], reply["wall_ns"], reply["cpu_start_ns"], reply["cpu_end_ns"])

    def trace(self) -> list[dict[str, Any]]:
        """Events of one run: name, kernel, thread, start_us, dur_us."""
        events: list[dict[str, Any]] = self._ask({"do": "trace"})["events"]
        return events

    def memory(self, *, reset_peak: bool = False) -> MemoryUse:
        """Resident memory; with `reset_peak` the peak starts again from here."""
        reply = self._ask({"do": "memory", "reset": reset_peak})
        if reply["rss_bytes"] is None:
            raise CapabilityError("memory is read from /proc, which this system lacks")
        return MemoryUse(reply["rss_bytes"], reply["peak_bytes"])

    def close(self) -> None:
        """End the process; more than once is fine."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                _close_quietly(stream)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def _ask(
        self,
        request: dict[str, Any],
        arrays: Mapping[str, np.ndarray] | None = None,
        timeout_s: float = PREPARE_TIMEOUT_S,
    ) -> dict[str, Any]:
        return self._exchange(request, arrays, timeout_s)[0]

    def _exchange(
        self,
        request: dict[str, Any],
        arrays: Mapping[str, np.ndarray] | None = None,
        timeout_s: float = PREPARE_TIMEOUT_S,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        expired = threading.Event()
        timer = threading.Timer(timeout_s, _kill, (self._process, expired))
        timer.start()
        try:
            write_message(self._process.stdin, request, dict(arrays or {}))
            message = read_message(self._process.stdout)
        except (OSError, ProtocolError):
            message = None
        finally:
            timer.cancel()
        if message is None:
            raise self._death(str(request["do"]), timed_out=expired.is_set())
        reply, made = message
        if not reply["ok"]:
            raise self._failure(reply)
        return reply, made

    def _death(self, doing: str, *, timed_out: bool) -> RunError:
        """The process is gone: how, and its last words."""
        code = self._process.wait(STOP_TIMEOUT_S)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        how = "no answer in time" if timed_out else how
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        words = "; its last output:\n" + "\n".join(lines[-STDERR_LINES:]) if lines else ""
        return RunError(f"the {self.name} worker ended with {how} during {doing!r}{words}")

    def _failure(self, reply: Mapping[str, Any]) -> ColonnadeError:
        error, kind = _LINK.sub("", reply["error"]), reply["kind"]
        if kind == "missing":
            return CapabilityError(
                f"{self.name} is not installed for {self._python} ({error}); install it there, or "
                f"name another interpreter in COLONNADE_PEER_{self.name.upper()}_PYTHON"
            )
        if kind == "capability":
            return CapabilityError(f"{self.name}: {error}")
        if kind == "model":
            return ModelError(f"{self.name} refused the model: {error}")
        if kind == "input":
            return InputError(f"{self.name}: {error}")
        return RunError(f"{self.name}: {error}")


def _spawn(
    python: str, stderr: IO[bytes], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    whole = {**os.environ, **environment}
    if python != sys.executable:
        whole.pop("PYTHONPATH", None)  # it was meant for this interpreter
    return subprocess.Popen(
        [python, str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=whole,
    )


def _close_quietly(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # the process went away with unread input
        stream.close()


def _kill(process: subprocess.Popen[bytes], expired: threading.Event) -> None:
    expired.set()
    process.kill()
