"""open_model(): a path, a folder as Hugging Face writes it, or an Engine, with its settings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colonnade.engine.compile import compile as compile_model
from colonnade.engine.compile import load
from colonnade.engine.engine import Engine
from colonnade.engine.runtime import Runtime
from colonnade.engine.scheduler import Scheduler
from colonnade.errors import InputError

ModelSource = str | os.PathLike[str] | Engine
NAMES = ("model.onnx", "onnx/model.onnx", "model.colonnade")
"""Where a folder holds its model."""
JSON_BYTES_MAX = 1 << 24


@dataclass(frozen=True)
class Compiling:
    """How a model that is given as a path is compiled; as the arguments of `colonnade.compile`."""

    threads: int | None = None
    scheduler: Scheduler = "single_stream"
    streams: int | None = None
    runtime: Runtime | None = None


@dataclass(frozen=True)
class Model:
    """An engine, and the files that say how to talk to it."""

    engine: Engine
    folder: Path | None
    config: Mapping[str, object]
    """config.json; empty when there is none."""

    def file(self, name: str) -> Path | None:
        """A file beside the model, if it is there."""
        found = None if self.folder is None else self.folder / name
        return found if found is not None and found.is_file() else None

    def settings(self, name: str) -> Mapping[str, object]:
        """The values of a JSON file beside the model; empty when it is not there."""
        found = self.file(name)
        return {} if found is None else read_json(found)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the engine's inputs."""
        return tuple(info.name for info in self.engine.inputs)

    def fixed(self, axis: int, name: str | None = None) -> int | None:
        """The size of an axis of an input (the first by default) if the model fixes it."""
        info = next(i for i in self.engine.inputs if name in (None, i.name))
        if info.shape is None or not -len(info.shape) <= axis < len(info.shape):
            return None
        size = info.shape[axis]
        return size if isinstance(size, int) else None

    def dtype(self, name: str) -> np.dtype[np.generic]:
        """Element type of an input."""
        return next(info.dtype for info in self.engine.inputs if info.name == name)

    def output(self, *names: str) -> str:
        """The first of these outputs that the model has; its only or first output otherwise."""
        known = [info.name for info in self.engine.outputs]
        return next((name for name in names if name in known), known[0])


def open_model(model: ModelSource, folder: Path | None, compiling: Compiling) -> Model:
    """Compile or load a model; `folder`: of tokenizer and configuration, else the model's own."""
    if isinstance(model, Engine):
        return _with_config(model, folder)
    if not isinstance(model, str | os.PathLike):
        raise InputError(
            f"model: expected a path, a folder or an Engine, got {type(model).__name__}"
        )
    path = Path(model)
    found = model_file(path)
    beside = path if path.is_dir() else path.parent
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    return _with_config(_compiled(found, compiling), folder or beside)


def read_json(path: Path) -> dict[str, object]:
    """The object in a JSON file; InputError when there is none."""
    try:
        if path.stat().st_size > JSON_BYTES_MAX:
            raise InputError(f"{path}: above {JSON_BYTES_MAX} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable JSON file: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected an object, got {type(found).__name__}")
    return found


def _with_config(engine: Engine, folder: Path | None) -> Model:
    bare = Model(engine, folder, {})
    return Model(engine, folder, bare.settings("config.json"))


def model_file(path: Path) -> Path:
    """The model of a folder, or the file itself; InputError when there is none."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    for name in NAMES:
        if (path / name).is_file():
            return path / name
    others = sorted(path.glob("*.onnx"))
    if len(others) != 1:
        raise InputError(
            f"{path}: expected {' or '.join(NAMES)} in it, or one .onnx file; found "
            f"{[other.name for other in others]}"
        )
    return others[0]


def _compiled(path: Path, how: Compiling) -> Engine:
    if path.suffix == ".colonnade":
        return load(
            path, threads=how.threads, scheduler=how.scheduler, streams=how.streams,
            runtime=how.runtime,
        )  # fmt: skip
    return compile_model(
        path, threads=how.threads, scheduler=how.scheduler, streams=how.streams,
        runtime=how.runtime or "native",
    )  # fmt: skip
