"""Samples from .npz files: one for each file, keys are input names."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from colonnade.errors import InputError
from colonnade.quantization.data.source import Sample, Source

SUFFIX = ".npz"


def archive_source(path: Path) -> Source:
    """The .npz files of a folder in the order of their names, or one file."""
    files = [path] if path.is_file() else sorted(path.glob(f"*{SUFFIX}"))

    def read() -> Iterator[Sample]:
        for file in files:
            yield Sample(str(file), _load(file))

    return read


def _load(file: Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: not an archive of arrays (.npz): {error}") from None
