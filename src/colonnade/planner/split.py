"""How a kernel's work is cut for the threads, as a pure function of sizes."""

from __future__ import annotations

UNITS_PER_THREAD = 8
"""Enough that a thread which was held up can be helped, few enough that a unit fills caches."""
TILES_PER_BLOCK_MIN = 4
"""Row tiles below which re-reading the activations costs more than the balance gains."""


def choose_blocks(panels: int, tiles: int, threads: int) -> int:
    """Row blocks per panel. One block keeps threads on their own columns; more feed idle threads."""
    if threads == 1 or panels >= UNITS_PER_THREAD * threads:
        return 1
    most = max(1, tiles // TILES_PER_BLOCK_MIN)
    wanted = min(most, -(-UNITS_PER_THREAD * threads // panels))
    balanced = [b for b in range(wanted, min(most, 2 * wanted) + 1) if panels * b % threads == 0]
    return balanced[0] if balanced else wanted
