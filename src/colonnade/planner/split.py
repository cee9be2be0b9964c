"""How a kernel's work is cut for the threads, as pure functions of sizes."""

from __future__ import annotations

import math

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
RECURRENT_NEAR = 1 << 17
"""Recurrent weights (floats) that a thread's second-level cache keeps beside its states."""
RECURRENT_ALONE = 1 << 15
"""Products of a step and direction below which threads that share it only wait for each other."""
BYTE_RECURRENT_UNITS = 4
"""Units a thread of a recurrent layer on bytes: each quantizes the state anew."""
RECURRENT_ITEMS = 4
"""Batch items that a unit needs to keep the registers of the recurrent kernels busy."""
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


def choose_recurrent_items(directions: int, batch: int, weights: int, threads: int) -> int:
    """Batch items of a recurrent layer that one unit runs through all steps; 0: threads share
    hidden units instead, each its own weights, and meet at each step.

    Small weights are read by every thread for its own items; large ones must be read once.
    `weights`: floats in one direction.
    """
    if threads == 1 or batch * weights <= RECURRENT_ALONE:
        return batch if weights <= RECURRENT_NEAR else 0
    shares = max(1, threads // math.gcd(threads, directions))
    if weights <= RECURRENT_NEAR and batch >= shares * RECURRENT_ITEMS:
        return -(-batch // shares)
    return 0


def choose_byte_recurrent_tiles(tiles: int, threads: int) -> int:
    """Tiles of hidden units that one unit of a recurrent layer on bytes takes."""
    return max(1, tiles // (threads * BYTE_RECURRENT_UNITS))
