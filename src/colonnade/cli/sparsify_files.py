"""The files that `colonnade sparsify` reads and writes, checked before the work."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from colonnade.cli.console import Console
from colonnade.cli.exits import ExitCode
from colonnade.cli.model import is_saved_plan, verify_folder
from colonnade.errors import InputError
from colonnade.quantization.data.open import LENGTH_MAX
from colonnade.sparsify.checkpoint.files import Files, write_atomically


@dataclass(frozen=True)
class OnnxModel:
    """The ONNX file of a model, and how its texts are read."""

    path: Path
    tokenizer: Path | None
    length_max: int
    """Tokens of a text at most."""


def verify_model(model: Path) -> None:
    """Raise InputError for what is neither a file to prune, a folder nor a function."""
    if not _is_function(model) and not model.is_dir() and is_saved_plan(model):
        raise InputError(f"{model}: a saved plan; expected a float32 ONNX file")


def choose_output(model: Path, output: Path | None) -> Path:
    """Where the sparse model goes."""
    place = model if model.name else model.resolve()
    target = output or place.with_name(f"{_stem(model)}-sparse.onnx")
    if target.resolve() == model.resolve():
        raise InputError(f"{target}: the sparse model would replace the dense one")
    return target


def verify_files(written: Mapping[str, Path | None], read: Mapping[str, Path | None]) -> None:
    """Refuse what cannot be written, is written twice, or is read as well; by option."""
    taken = {path.resolve(): name for name, path in read.items() if path is not None}
    for name, path in written.items():
        if path is None:
            continue
        verify_folder(path)
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: not a file; it would be replaced by one")
        other = taken.setdefault(path.resolve(), name)
        if other != name:
            raise InputError(f"{name} {path}: the same file as {other}; choose another")


def verify_dense_output(model: Path, dense: Path | None) -> None:
    """Only an export can be kept, and only where nothing is."""
    if dense is None:
        return
    if model.is_file():
        raise InputError("--dense-output: the model is a file already; leave it out")
    if dense.exists():
        raise InputError(f"--dense-output {dense}: exists already; choose another")


def verify_suffix(report: Path | None, *suffixes: str) -> None:
    """Refuse a report of an unknown kind."""
    if report is not None and report.suffix not in suffixes:
        raise InputError(f"{report}: a report is {' or '.join(suffixes)}")


@contextmanager
def opened_model(
    model: Path, tokenizer: Path | None, length: int | None, dense: Path | None = None
) -> Iterator[OnnxModel]:
    """An ONNX file as it is; of a folder or a function, its export, which stays at `dense` or is
    gone afterwards. The tokenizer of a folder is its own, and its texts are no longer than it
    bears. Raises InputError for a longer `length`."""
    if model.is_file():
        yield OnnxModel(model, tokenizer, length or LENGTH_MAX)
        return
    with tempfile.TemporaryDirectory(prefix="colonnade-") as place:
        target = dense or Path(place) / f"{_stem(model)}.onnx"
        if model.is_dir():
            from colonnade.search.folder import count_positions, export_folder  # loads torch

            limit = _choose_length(length, count_positions(model))
            own = model / "tokenizer.json"
            own_tokenizer = tokenizer or (own if own.is_file() else None)
            yield OnnxModel(export_folder(model, target), own_tokenizer, limit)
        else:
            from colonnade.search.function import export_function  # loads torch

            made = export_function(str(model), target)
            yield OnnxModel(made, tokenizer, length or LENGTH_MAX)


def save_report(console: Console, path: Path, text: str) -> None:
    """Write a report, once its content was shown: the one document of --json is out by then, so a
    failure is a line and an exit code."""
    try:
        write_atomically(path, text.encode(), Files())
    except OSError as error:
        console.error(f"error: {path}: cannot be written: {error.strerror}")
        raise typer.Exit(ExitCode.RUN_FAILED) from None
    console.note(f"report written to {path}")


def _is_function(model: Path) -> bool:
    """Whether it is module:function and no file."""
    return not model.exists() and ":" in model.name


def _stem(model: Path) -> str:
    """The name of what is written: of a file, a folder, or the function in module:function."""
    if model.is_dir():
        return model.resolve().name
    return model.name.rpartition(":")[2] if _is_function(model) else model.stem


def _choose_length(asked: int | None, positions: int | None) -> int:
    if asked is not None and positions is not None and asked > positions:
        raise InputError(f"--sequence-length {asked}: the model has {positions} positions")
    return asked or min(LENGTH_MAX, positions or LENGTH_MAX)
