"""How a kernel's work is cut for the threads, as pure functions of sizes."""

from __future__ import annotations

UNITS_PER_THREAD = 8
"""Enough that a thread which was held up can be helped, few enough that a unit fills caches."""
TILES_PER_BLOCK_MIN = 4
"""Row tiles below which re-reading the activations costs more than the balance gains."""
SPARSE_ROW_BLOCK = 64
"""Rows of W that are one tile of the sparse kernels (kSparseRowBlock)."""
VECTOR_LANES = 16
"""Columns of one AVX-512 vector: a last panel costs by the vectors that it fills."""
STRIPE_PANELS = 32
"""Panels of a depthwise stripe: enough to hide its halo, few enough to stay in L1."""
IMBALANCE_MAX = 1.05
"""The busiest thread's share over the mean share, above which packing twice is the lesser evil."""


def choose_blocks(
    panels: int, tiles: int, threads: int, tiles_min: int = TILES_PER_BLOCK_MIN
) -> int:
    """Row blocks per panel. One keeps threads on their own columns; more feed idle threads."""
    if threads == 1 or panels >= UNITS_PER_THREAD * threads:
        return 1
    most = max(1, tiles // tiles_min)
    wanted = min(most, -(-UNITS_PER_THREAD * threads // panels))
    balanced = [b for b in range(wanted, min(most, 2 * wanted) + 1) if panels * b % threads == 0]
    return balanced[0] if balanced else wanted


def choose_packing_blocks(columns: int, lanes: int, tiles: int, threads: int) -> int:
    """Row blocks for a kernel that packs its panel anew for each block: one, or one a thread.

    One when the threads' contiguous shares of panels hold about as many vectors of columns each.
    """
    vectors = -(-columns // VECTOR_LANES)
    panels = -(-columns // lanes)
    borders = [min(panels * t // threads * lanes // VECTOR_LANES, vectors) for t in range(threads)]
    shares = [b - a for a, b in zip(borders, (*borders[1:], vectors), strict=True)]
    is_balanced = max(shares) * threads <= IMBALANCE_MAX * vectors
    return 1 if is_balanced else min(threads, tiles)


def choose_stripes(panels: int, channels: int, threads: int) -> tuple[int, int]:
    """(panels in a stripe, channel blocks) of a depthwise kernel: long stripes copy less halo."""
    stripe = min(panels, STRIPE_PANELS)
    stripes = -(-panels // stripe)
    return stripe, min(channels, max(1, -(-UNITS_PER_THREAD * threads // stripes)))
