"""Writing a file so that a crash at any moment leaves the old one or the new one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class Files:
    """The operations on the disk; tests pass one that fails, or that forgets what is not synced."""

    def create(self, path: Path) -> int:
        """Open a new, empty file for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def write(self, fd: int, data: memoryview) -> int:
        """Write some of `data`; returns how many bytes."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Wait until the file is on the disk."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close the file."""
        os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, over an existing file if there is one."""
        source.replace(target)

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in the folder are on the disk."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """Remove the file."""
        path.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, files: Files) -> None:
    """Write a file under a temporary name in the same folder, sync it, and only then rename it.

    An OSError leaves what was there before, and no temporary file.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        _write_whole(temporary, data, files)
        files.replace(temporary, path)
    except OSError:
        # A crash here leaves the temporary file, which the next write truncates.
        with contextlib.suppress(OSError):
            files.remove(temporary)
        raise
    files.sync_folder(path.parent)


def _write_whole(path: Path, data: bytes, files: Files) -> None:
    fd = files.create(path)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[files.write(fd, rest) :]
        files.sync(fd)
    finally:
        files.close(fd)
