"""open_source(): whatever the user gave as calibration data, as a Source."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from colonnade.errors import InputError
from colonnade.ir import Graph
from colonnade.quantization.data.archives import SUFFIX, archive_source
from colonnade.quantization.data.functions import load_function
from colonnade.quantization.data.images import SUFFIXES, ImageSpec, image_source
from colonnade.quantization.data.source import Source, source_of
from colonnade.quantization.data.text import text_source

LENGTH_MAX = 128
_FORMS = (
    "a folder of .npz files, a folder of images, a text file with --tokenizer, or module:function"
)


@dataclass(frozen=True)
class Reading:
    """How files become arrays."""

    images: ImageSpec = field(default_factory=ImageSpec)
    tokenizer: Path | None = None
    """A tokenizer.json, for text."""
    length_max: int = LENGTH_MAX
    """Tokens of a text at most."""
    is_full: bool = False
    """Pad every text to that length."""


def open_source(data: object, graph: Graph, reading: Reading) -> Source:
    """A Source from a path or `module:function`, a list of dicts of arrays, or a function."""
    if not isinstance(data, str | os.PathLike):
        return source_of(data)
    path = Path(data)
    if path.is_dir():
        return _open_folder(path, graph, reading)
    if path.is_file():
        return _open_file(path, graph, reading)
    if isinstance(data, str) and ":" in data:
        return source_of(load_function(data, "calibration"), data)
    raise InputError(f"{path}: no such file or folder; calibration data is {_FORMS}")


def _open_folder(path: Path, graph: Graph, reading: Reading) -> Source:
    if any(path.glob(f"*{SUFFIX}")):
        return archive_source(path)
    if not any(file.suffix.lower() in SUFFIXES for file in path.rglob("*")):
        raise InputError(f"{path}: holds neither {SUFFIX} files nor images")
    if len(graph.inputs) != 1:
        raise InputError(
            f"{path}: images are for models with one input, and this one has {list(graph.inputs)}; "
            "give .npz files or a function"
        )
    return image_source(path, reading.images, graph.inputs[0])


def _open_file(path: Path, graph: Graph, reading: Reading) -> Source:
    if path.suffix == SUFFIX:
        return archive_source(path)
    if reading.tokenizer is None:
        raise InputError(f"{path}: a text file needs a tokenizer; calibration data is {_FORMS}")
    return text_source(path, reading.tokenizer, graph, reading.length_max, is_full=reading.is_full)
