"""A model file as an engine that is ready for the shapes that the user asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import colonnade
from colonnade.bench.feeds import Feeds, load_feeds, random_feeds
from colonnade.bench.peers import InputSpec
from colonnade.bench.shapes import (
    ResolvedShapes,
    ShapeRequest,
    parse_bracketed_shapes,
    parse_shape_option,
    resolve_shapes,
    split_shape_options,
)
from colonnade.errors import InputError, ModelError

PLAN_MAGIC = b"COLONNAD"


@dataclass(frozen=True)
class InputOptions:
    """What the command line says of the inputs."""

    files: Sequence[str] = ()
    shapes: Sequence[str] = ()
    bracketed: str = ""
    batch_size: int | None = None
    sequence_length: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class ReadyInputs:
    """Arrays for a run, their batch size, and what had to be guessed."""

    arrays: Feeds
    batch_size: int
    notes: tuple[str, ...]


def open_engine(
    path: Path, threads: int | None, fallback: Literal["allow", "forbid"]
) -> colonnade.Engine:
    """Compile an ONNX file, or load a saved plan. Raises InputError when there is no such file."""
    if is_saved_plan(path):
        return colonnade.load(path, threads=threads)
    try:
        return colonnade.compile(path, threads=threads, fallback=fallback)
    except ModelError as error:
        if error.node is None:  # a fault of the whole file
            error.reason = f"{path}: {error.reason}"
        raise


def is_saved_plan(path: Path) -> bool:
    """Whether the file starts as a `.colonnade` file does."""
    if not path.is_file():
        raise InputError(f"{path}: " + ("not a file" if path.exists() else "no such file"))
    with path.open("rb") as file:
        return file.read(len(PLAN_MAGIC)) == PLAN_MAGIC


def verify_folder(target: Path | None) -> None:
    """Refuse an output file that cannot be written, before the work and not after it."""
    if target is None:
        return
    if target.is_dir():
        raise InputError(f"{target}: a folder; expected the name of a file")
    if not target.parent.is_dir():
        raise InputError(f"{target}: no such folder")
    if target.exists() and os.access(target, os.W_OK):  # it may be /dev/stdout
        return
    try:
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None


def input_specs(engine: colonnade.Engine, *, is_plan: bool) -> list[InputSpec]:
    """The engine's inputs; a loaded plan's with the shapes that it holds."""
    planned = engine.explain().shapes if is_plan else {}
    return [
        InputSpec(info.name, info.dtype, info.shape, planned.get(info.name))
        for info in engine.inputs
    ]


def make_inputs(specs: Sequence[InputSpec], options: InputOptions) -> ReadyInputs:
    """Arrays from the files given, or random ones of the shapes asked for."""
    if options.files:
        arrays = load_feeds(options.files, [spec.name for spec in specs])
        shapes = {name: array.shape for name, array in arrays.items()}
        resolved = resolve_shapes(
            specs, replace(shape_request(specs, options), by_name=shapes, by_position=())
        )
        return ReadyInputs(arrays, resolved.batch_size, ())
    resolved = choose_shapes(specs, options)
    arrays = random_feeds(specs, resolved.shapes, options.seed)
    return ReadyInputs(arrays, resolved.batch_size, resolved.notes)


def choose_shapes(specs: Sequence[InputSpec], options: InputOptions) -> ResolvedShapes:
    """A shape for every input."""
    return resolve_shapes(specs, shape_request(specs, options))


def shape_request(specs: Sequence[InputSpec], options: InputOptions) -> ShapeRequest:
    """The options in terms of the model's inputs."""
    by_name, symbols = split_shape_options(
        [parse_shape_option(text) for text in options.shapes], specs
    )
    return ShapeRequest(
        by_name=by_name,
        by_position=parse_bracketed_shapes(options.bracketed) if options.bracketed else (),
        symbols=symbols,
        batch_size=options.batch_size,
        sequence_length=options.sequence_length,
    )
