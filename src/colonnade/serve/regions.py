"""Where tensors may lie outside of a request: regions of shared memory, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from colonnade.serve.refusal import Kind, Refusal

REGION = "shared_memory_region"


class Regions(Protocol):
    """Shared memory that clients have registered."""

    def read(self, region: str, offset: int, size: int) -> bytes | memoryview:
        """Bytes of a region; raises Refusal."""

    def write(self, region: str, offset: int, size: int, data: bytes | memoryview) -> None:
        """Put bytes there; raises Refusal when they do not fit."""


class NoRegions:
    """Of a server without shared memory."""

    def read(self, region: str, offset: int, size: int) -> bytes | memoryview:
        """Refused."""
        raise Refusal(Kind.INVALID, f"unknown shared memory region {region!r}")

    def write(self, region: str, offset: int, size: int, data: bytes | memoryview) -> None:
        """Refused."""
        raise Refusal(Kind.INVALID, f"unknown shared memory region {region!r}")


def place_of(tensor: str, parameters: Mapping[str, Any]) -> tuple[str, int, int]:
    """(region, offset, bytes) that a tensor's parameters name; raises Refusal."""
    region = parameters.get(REGION)
    offset = parameters.get("shared_memory_offset", 0)
    size = parameters.get("shared_memory_byte_size", 0)
    numbers = isinstance(offset, int) and isinstance(size, int) and offset >= 0 and size >= 0
    if not isinstance(region, str) or not numbers:
        raise Refusal(
            Kind.INVALID, f"{tensor!r}: region, offset and byte size in shared memory are needed"
        )
    return region, offset, size
