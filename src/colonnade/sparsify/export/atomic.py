"""A file that is there completely or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colonnade.errors import ExportError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to. It takes the target's place when the block is left, and
    goes without a trace when the block fails; then the target is what it was."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix
        )
        os.close(handle)
    except OSError as error:
        raise ExportError(f"{target}: cannot be written: {error}") from error
    draft = Path(name)
    try:
        yield draft
        _sync(draft)
        draft.chmod(0o666 & ~_umask())
        draft.replace(target)
    except OSError as error:
        raise ExportError(
            f"{target}: cannot be written: {error}; what was there before is still there"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
