"""External data: no file is opened but those in the folder, and sizes are checked first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import StringStringEntryProto

from colonnade.errors import ModelError
from colonnade.onnx.external import ExternalFolder, Location, parse_location
from colonnade.onnx.source import FileSource

DATA = np.arange(8, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "sub").mkdir(parents=True)
    (made / "w.bin").write_bytes(DATA.tobytes())
    (made / "sub" / "v.bin").write_bytes(DATA.tobytes())
    (made / "link").symlink_to(tmp_path)
    (tmp_path / "secret").write_bytes(DATA.tobytes())
    return made


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[list[str]]:
    """Every path that is opened, as the kernel sees it."""
    real, paths = os.open, list[str]()

    def spy(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = real(path, flags, mode, dir_fd=dir_fd)
        paths.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    yield paths
    assert all(Path(path).is_relative_to(folder) for path in paths)


@pytest.mark.parametrize(
    "path",
    [
        "../secret", "sub/../../secret", "/etc/passwd", "..", "", ".", "link/secret", "link",
        "sub", "no", "w.bin/x", "a\0b", "sub/" * 40 + "v.bin",
    ],
)  # fmt: skip
def test_nothing_outside_is_opened(path: str, folder: Path, opened: list[str]) -> None:
    with ExternalFolder(str(folder)) as external, pytest.raises(ModelError, match="external data"):
        external.check("tensor 'w'", Location(path, 0, None), 32)


def test_ranges_are_read(folder: Path, opened: list[str]) -> None:
    with ExternalFolder(str(folder)) as external:
        for location, num_bytes in (
            (Location("w.bin", 0, 32), 32),
            (Location("./sub/v.bin", 4, None), 8),
        ):
            external.check("t", location, num_bytes)
        external.check_overlaps()
        whole = external.read(Location("w.bin", 0, 32), 32)
        np.testing.assert_array_equal(whole.view(np.float32), DATA)
        assert external.read(Location(".//w.bin", 0, 32), 32) is whole
        part = external.read(Location("sub/v.bin", 4, None), 8)
        np.testing.assert_array_equal(part.view(np.float32), DATA[1:3])
    assert len(opened) == 5


def test_descriptors_are_closed(folder: Path) -> None:
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    with ExternalFolder(str(folder)) as external:
        external.check("t", Location("sub/v.bin", 0, None), 32)
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


def test_ranges_that_overlap_in_part(folder: Path) -> None:
    with ExternalFolder(str(folder)) as external:
        external.check("a", Location("w.bin", 0, None), 8)
        external.check("b", Location("./w.bin", 4, None), 8)
        with pytest.raises(ModelError, match="overlaps a"):
            external.check_overlaps()


def test_a_file_that_shrinks_is_an_error_not_a_signal(folder: Path) -> None:
    with ExternalFolder(str(folder)) as external:
        location = Location("w.bin", 0, None)
        external.check("t", location, 32)
        (folder / "w.bin").write_bytes(b"short")
        with pytest.raises(ModelError, match="became shorter"):
            external.read(location, 32)


def test_a_file_without_length_is_no_source() -> None:
    descriptor = os.open("/dev/zero", os.O_RDONLY)
    try:
        with pytest.raises(ModelError, match="not a regular file"):
            FileSource(descriptor, "zero")
    finally:
        os.close(descriptor)


def test_entries() -> None:
    entries = [
        StringStringEntryProto(key=key, value=value)
        for key, value in (("location", "w"), ("offset", "4"), ("length", "8"), ("__class__", "x"))
    ]
    assert parse_location("t", entries) == Location("w", 4, 8)
    with pytest.raises(ModelError, match="twice"):
        parse_location("t", [*entries, entries[0]])
    with pytest.raises(ModelError, match="no location"):
        parse_location("t", entries[1:])


@pytest.mark.parametrize("text", ["-1", "1.5", "", " 4", "٤", "1" * 30])
def test_numbers_that_are_none(text: str) -> None:
    entries = [
        StringStringEntryProto(key="location", value="w"),
        StringStringEntryProto(key="offset", value=text),
    ]
    with pytest.raises(ModelError, match="not a whole number"):
        parse_location("t", entries)
