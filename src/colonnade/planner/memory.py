"""Memory plan: lifetimes to offsets in one arena.

Greedy by size (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
2020): the largest buffer first, each at the lowest gap that is free during its whole life.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer of `nbytes` that is live in steps first..last, both included."""

    nbytes: int
    first: int
    last: int


def place_buffers(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Offsets in the order given, and the arena's size in bytes."""
    offsets = [0] * len(lifetimes)
    placed: list[tuple[int, int, Lifetime]] = []
    arena_bytes = 0
    order = sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].nbytes, i))
    for i in order:
        life = lifetimes[i]
        size = _aligned(life.nbytes)
        offset = _lowest_gap(placed, life, size)
        placed.append((offset, offset + size, life))
        offsets[i] = offset
        arena_bytes = max(arena_bytes, offset + size)
    return offsets, arena_bytes


def _lowest_gap(placed: list[tuple[int, int, Lifetime]], life: Lifetime, size: int) -> int:
    rivals = sorted(
        (begin, end)
        for begin, end, other in placed
        if other.first <= life.last and life.first <= other.last
    )
    offset = 0
    for begin, end in rivals:
        if begin - offset >= size:
            break
        offset = max(offset, end)
    return offset


def peak_live_bytes(lifetimes: Sequence[Lifetime]) -> int:
    """The least that any placement needs: the largest sum of buffers live at one step."""
    changes: dict[int, int] = {}
    for life in lifetimes:
        size = _aligned(life.nbytes)
        changes[life.first] = changes.get(life.first, 0) + size
        changes[life.last + 1] = changes.get(life.last + 1, 0) - size
    peak = live = 0
    for step in sorted(changes):
        live += changes[step]
        peak = max(peak, live)
    return peak


def _aligned(nbytes: int) -> int:
    return (nbytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
