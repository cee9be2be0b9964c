"""External data: tensors in files beside the model, and nowhere else.

Every path component is opened by descriptor without following links, and the checks are made on
the open descriptor, so that nothing can be swapped between a check and its use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
import onnx
from numpy.typing import NDArray

from colonnade.errors import ModelError
from colonnade.onnx.source import READ_FLAGS, FileSource

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_MAX_DIGITS = 19
_MAX_OPEN_FILES = 256
_MAX_COMPONENTS = 32


@dataclass(frozen=True)
class Location:
    """Where a tensor's bytes are: a relative path, and a range of that file."""

    path: str
    offset: int
    length: int | None


@dataclass
class _File:
    source: FileSource
    ranges: dict[tuple[int, int], str] = field(default_factory=dict)
    """(offset, length) of every tensor read, with the tensor's name."""


class ExternalFolder:
    """The folder of a model file; None for a model that has none."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._open: list[int] = []
        self._files: dict[tuple[str, ...], _File] = {}
        self._arrays: dict[tuple[tuple[str, ...], int, int], NDArray[np.uint8]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()

    def check(self, tensor: str, location: Location, num_bytes: int) -> None:
        """Raise ModelError unless the range lies inside the file and has the tensor's size."""
        file = self._file(tensor, location.path)
        length = num_bytes if location.length is None else location.length
        if length != num_bytes:
            raise _error(tensor, f"its length is {length} bytes, its shape needs {num_bytes}")
        if location.offset + length > file.source.size:
            raise _error(
                tensor,
                f"bytes {location.offset} to {location.offset + length} lie outside "
                f"{location.path!r}, which has {file.source.size}",
            )
        file.ranges.setdefault((location.offset, length), tensor)

    def check_overlaps(self) -> None:
        """Raise ModelError when two tensors share a part of a file, but not the whole range."""
        for parts, file in self._files.items():
            end, owner = 0, ""
            for (offset, length), tensor in sorted(file.ranges.items()):
                if offset < end and length:
                    raise _error(tensor, f"it overlaps {owner} in {'/'.join(parts)!r}")
                end, owner = max(end, offset + length), tensor

    def read(self, location: Location, num_bytes: int) -> NDArray[np.uint8]:
        """The bytes of a tensor that was checked; equal ranges give one array."""
        parts = _components("", location.path)
        key = (parts, location.offset, num_bytes)
        if key not in self._arrays:
            self._arrays[key] = self._files[parts].source.array(location.offset, num_bytes, 1)
        return self._arrays[key]

    def _file(self, tensor: str, path: str) -> _File:
        parts = _components(tensor, path)
        if parts not in self._files:
            if len(self._files) >= _MAX_OPEN_FILES:
                raise _error(tensor, f"more than {_MAX_OPEN_FILES} files")
            self._files[parts] = _File(self._open_file(tensor, parts))
        return self._files[parts]

    def _open_file(self, tensor: str, parts: tuple[str, ...]) -> FileSource:
        if self._folder is None:
            raise _error(tensor, "the model was not given as a path, so it has no folder")
        *parents, name = parts
        path = "/".join(parts)
        try:
            directory = self._keep(os.open(self._folder or ".", _DIRECTORY_FLAGS))
            for parent in parents:
                flags = _DIRECTORY_FLAGS | os.O_NOFOLLOW
                directory = self._keep(os.open(parent, flags, dir_fd=directory))
            flags = READ_FLAGS | os.O_NOFOLLOW
            descriptor = self._keep(os.open(name, flags, dir_fd=directory))
        except OSError as error:
            raise _error(
                tensor, f"{path!r} cannot be opened without following links: {error.strerror}"
            ) from error
        source = FileSource(descriptor, f"external data of {tensor}: {path!r}")
        if source.status.st_nlink != 1:
            raise _error(
                tensor, f"{path!r} has {source.status.st_nlink} hard links; copy the file instead"
            )
        return source

    def _keep(self, descriptor: int) -> int:
        self._open.append(descriptor)
        return descriptor


def parse_location(tensor: str, entries: Iterable[onnx.StringStringEntryProto]) -> Location:
    """The location in a tensor's `external_data`; unknown keys are ignored."""
    values: dict[str, str] = {}
    for entry in entries:
        if entry.key in values:
            raise _error(tensor, f"key {entry.key!r} is given twice")
        if not isinstance(entry.value, str):  # what protobuf gives for invalid UTF-8
            raise _error(tensor, f"key {entry.key!r} is not valid UTF-8")
        values[entry.key] = entry.value
    if "location" not in values:
        raise _error(tensor, "it gives no location")
    length = values.get("length")
    return Location(
        values["location"],
        _parse_size(tensor, "offset", values.get("offset", "0")),
        None if length is None else _parse_size(tensor, "length", length),
    )


def _parse_size(tensor: str, key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise _error(tensor, f"{key} {text[:40]!r} is not a whole number of bytes")
    return int(text)


def _components(tensor: str, path: str) -> tuple[str, ...]:
    """The path's components; raises ModelError for one that could leave the folder."""
    given = path.split("/")
    if path.startswith("/") or ".." in given or "\0" in path:
        raise _error(tensor, f"path {path[:200]!r} leaves the model's folder")
    parts = tuple(part for part in given if part not in ("", "."))
    if not parts or len(parts) > _MAX_COMPONENTS:
        raise _error(tensor, f"path {path[:200]!r} names no file")
    return parts


def _error(tensor: str, reason: str) -> ModelError:
    return ModelError(f"external data of {tensor}: {reason}")
