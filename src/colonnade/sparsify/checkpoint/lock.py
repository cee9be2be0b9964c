"""One writer for a folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from colonnade.errors import CheckpointError

LOCK_NAME = "lock"

# The system's locks belong to a process, which would not refuse itself.
_HELD: set[Path] = set()


class FolderLock:
    """Holds the folder until `close`.

    The operating system frees the lock of a process that dies, whichever way, and workers that were
    forked do not inherit it: there are no stale locks to judge by age or process number.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        if self._folder in _HELD:
            raise CheckpointError(f"{folder}: another session of this process writes there")
        self._fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(self._fd, 32).decode(errors="replace").strip()
            os.close(self._fd)
            raise CheckpointError(
                f"{folder}: another run (process {owner or 'unknown'}) writes there; wait for it, "
                "or choose another folder"
            ) from None
        _HELD.add(self._folder)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let others write."""
        if self._folder in _HELD:
            _HELD.discard(self._folder)
            os.close(self._fd)
