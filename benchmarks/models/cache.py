"""Where downloads and built models live, and how a file gets there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """$COLONNADE_CACHE_DIR, else ~/.cache/colonnade; made when absent."""
    named = os.environ.get("COLONNADE_CACHE_DIR")
    folder = Path(named).expanduser() if named else Path.home() / ".cache" / "colonnade"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        part = Path(folder) / path.name
        yield part
        part.replace(path)
