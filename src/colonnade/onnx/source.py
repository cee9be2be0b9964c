"""Bytes of a model, or of the files beside it, read by position.

Nothing is memory-mapped: a file that shrinks gives a short read, which is an error, not SIGBUS.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from colonnade.errors import ModelError

READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK: opening a FIFO must return, so that it can be refused."""

_MAX_READ_BYTES = 1 << 30


class Source(Protocol):
    """Random access to `size` bytes."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes | memoryview: ...

    def array(self, offset: int, length: int, alignment: int) -> NDArray[np.uint8]:
        """The bytes as an array that starts at a multiple of `alignment`; copied where needed."""
        ...


class BytesSource:
    """A model in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B")

    @property
    def size(self) -> int:
        return len(self._view)

    def read(self, offset: int, length: int) -> memoryview:
        return self._view[offset : offset + length]

    def array(self, offset: int, length: int, alignment: int) -> NDArray[np.uint8]:
        view = np.frombuffer(self._view[offset : offset + length], np.uint8)
        return view if view.ctypes.data % alignment == 0 else view.copy()


class FileSource:
    """An open regular file; `label` names it in errors."""

    def __init__(self, descriptor: int, label: str) -> None:
        self._descriptor = descriptor
        self._label = label
        self.status = os.fstat(descriptor)
        if not stat.S_ISREG(self.status.st_mode):
            raise ModelError(f"{label} is not a regular file")

    @property
    def size(self) -> int:
        return self.status.st_size

    def read(self, offset: int, length: int) -> bytes:
        return self.array(offset, length, 1).tobytes()

    def array(self, offset: int, length: int, alignment: int) -> NDArray[np.uint8]:
        del alignment  # numpy aligns what it allocates for every element type
        made = np.empty(length, np.uint8)
        done = 0
        while done < length:
            part = made[done : done + _MAX_READ_BYTES].data
            try:
                count = os.preadv(self._descriptor, [part], offset + done)
            except OSError as error:
                raise ModelError(f"{self._label} cannot be read: {error.strerror}") from error
            if count == 0:
                raise ModelError(f"{self._label} became shorter while it was read")
            done += count
        return made


@contextmanager
def open_file(path: str) -> Iterator[FileSource]:
    """The model file at `path`."""
    try:
        descriptor = os.open(path, READ_FLAGS)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(f"model file {path!r} cannot be opened: {reason}") from error
    try:
        yield FileSource(descriptor, f"model file {path!r}")
    finally:
        os.close(descriptor)
