"""System shared memory: tensors that a client on this machine passes in /dev/shm.

Only names directly below /dev/shm are opened, never paths; a region is a part of one of them.
"""

from __future__ import annotations

import mmap
import os
import re
from dataclasses import dataclass

from colonnade.serve.refusal import Kind, Refusal

FOLDER = "/dev/shm"
REGIONS_MAX = 256
KEY = re.compile(r"/?[A-Za-z0-9_.\-]{1,200}")


@dataclass(frozen=True, slots=True)
class Region:
    """A registered part of a shared memory object."""

    name: str
    key: str
    offset: int
    byte_size: int
    memory: mmap.mmap


class SharedMemory:
    """The regions that clients have registered. Used by one event loop."""

    def __init__(self) -> None:
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Map a region; raises Refusal."""
        if name in self._regions:
            raise Refusal(Kind.INVALID, f"shared memory region {name!r} is registered already")
        if len(self._regions) >= REGIONS_MAX:
            raise Refusal(Kind.INVALID, f"at most {REGIONS_MAX} shared memory regions")
        if not KEY.fullmatch(key) or key.strip("/.") == "":
            raise Refusal(Kind.INVALID, "a shared memory key is a name, not a path")
        if byte_size < 1 or offset < 0:
            raise Refusal(Kind.INVALID, "offset is 0 or more, byte_size 1 or more")
        memory = _map(key.lstrip("/"), offset + byte_size)
        self._regions[name] = Region(name, key, offset, byte_size, memory)

    def unregister(self, name: str = "") -> None:
        """Let go of a region, or of all."""
        gone = [name] if name else list(self._regions)
        for one in gone:
            region = self._regions.pop(one, None)
            if region is None:
                raise Refusal(Kind.NOT_FOUND, f"unknown shared memory region {one!r}")
            region.memory.close()

    def status(self, name: str = "") -> list[Region]:
        """One region, or all."""
        if not name:
            return list(self._regions.values())
        return [self._find(name)]

    def read(self, region: str, offset: int, size: int) -> bytes:
        """A copy of bytes of a region: the client may change them while the model runs."""
        found = self._find(region)
        begin = self._begin(found, offset, size)
        return found.memory[begin : begin + size]

    def write(self, region: str, offset: int, size: int, data: bytes | memoryview) -> None:
        """Put an output there; refused when it has more than `size` bytes."""
        found = self._find(region)
        begin = self._begin(found, offset, size)
        if len(data) > size:
            raise Refusal(
                Kind.INVALID, f"an output of {len(data)} bytes does not fit {size} in {region!r}"
            )
        found.memory[begin : begin + len(data)] = bytes(data)

    def _find(self, name: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            raise Refusal(Kind.NOT_FOUND, f"unknown shared memory region {name!r}")
        return region

    @staticmethod
    def _begin(region: Region, offset: int, size: int) -> int:
        if offset < 0 or size < 0 or offset + size > region.byte_size:
            raise Refusal(
                Kind.INVALID,
                f"bytes {offset} to {offset + size} of region {region.name!r}, which has "
                f"{region.byte_size}",
            )
        return region.offset + offset


def _map(name: str, size: int) -> mmap.mmap:
    try:
        descriptor = os.open(f"{FOLDER}/{name}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        raise Refusal(Kind.INVALID, f"no shared memory object {name!r}") from None
    try:
        if os.fstat(descriptor).st_size < size:
            raise Refusal(Kind.INVALID, f"shared memory object {name!r} has less than {size} bytes")
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
