"""What kernels cost, as pure functions of sizes: the first guess before anything is measured."""

from __future__ import annotations

SPARSITY_MIN = 0.7
"""Share of zeros from which the sparse kernel is expected to win; see docs/design/0005-sparse.md."""
L1_DEPTH = 128
"""Rows of an AVX-512 panel (256 bytes each) that fill L1 beside nothing else."""
DENSITY_LOW = 0.07
"""Density below which a row has so few nonzeros in L1_DEPTH rows that adding up the blocks costs more
than reading X from L2."""


def prefers_sparse(sparsity: float) -> bool:
    """True when skipping zeros is expected to pay."""
    return sparsity >= SPARSITY_MIN


def choose_k_block(depth: int, density: float, depth_max: int, rows_each: int = 1) -> int:
    """Length of depth blocks, in units of `rows_each` rows of X, at most `depth_max`: even blocks."""
    wanted = L1_DEPTH if density > DENSITY_LOW else 2 * L1_DEPTH
    most = max(1, min(depth_max, wanted // rows_each))
    num_blocks = -(-depth // most)
    return -(-depth // num_blocks)
