"""Cores of a node for each engine on it: no two engines run on the same ones.

A claim is a locked file per core. The kernel drops the locks of a process that ends, however it
ends, so a killed engine leaves its cores free.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from colonnade.errors import CapabilityError

SIBLINGS = "/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"

Core = frozenset[int]
"""The CPUs of a physical core."""


@dataclass(frozen=True)
class CoreClaim:
    """Cores held until `release`, or until the process ends."""

    cores: tuple[Core, ...]
    files: tuple[int, ...]

    @property
    def cpus(self) -> frozenset[int]:
        """All CPUs of the cores."""
        return frozenset().union(*self.cores)

    def release(self) -> None:
        """Let others have them."""
        for file in self.files:
            os.close(file)


def claim_cores(count: int, folder: Path | None = None) -> CoreClaim | None:
    """Cores that no other process of this user has claimed; None when so many are not free."""
    folder = folder or _lock_folder()
    cores: list[Core] = []
    files: list[int] = []
    for core in granted_cores():
        if len(cores) == count:
            break
        file = _try_lock(folder / f"cpu{min(core)}")
        if file is not None:
            cores.append(core)
            files.append(file)
    claim = CoreClaim(tuple(cores), tuple(files))
    if len(cores) == count:
        return claim
    claim.release()
    return None


def granted_cores() -> list[Core]:
    """The physical cores that this process may run on, lowest CPU first."""
    granted = os.sched_getaffinity(0)
    cores = {frozenset(_siblings(cpu) & granted) for cpu in granted}
    return sorted(cores, key=min)


def _siblings(cpu: int) -> set[int]:
    try:
        text = Path(SIBLINGS.format(cpu=cpu)).read_text()
    except OSError:
        return {cpu}
    return set(parse_cpus(text)) | {cpu}


def parse_cpus(text: str) -> Iterable[int]:
    """The CPUs of a list as Linux writes it.

    >>> list(parse_cpus("0-2,8"))
    [0, 1, 2, 8]
    """
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _lock_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"colonnade-cores-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise CapabilityError(f"{folder}: belongs to somebody else; remove it, or set TMPDIR")
    return folder


def _try_lock(path: Path) -> int | None:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file
