"""What kernels cost, as pure functions of sizes: the first guess before anything is measured."""

from __future__ import annotations

SPARSITY_TRIED = 0.2
"""Share of zeros from which a sparse kernel is considered at all."""
SPARSITY_EXPECTED = 0.5
"""Share of zeros from which it is expected to win: a nonzero costs 1.4 times a dense product."""
FEW_COLUMNS = 16
"""Columns below which a panel is mostly empty: dense products then run on rows."""
SPARSITY_EXPECTED_FEW = 0.8
"""As SPARSITY_EXPECTED, for few columns."""
NONZERO_COST = 1.5
"""Time of a nonzero over that of an element of a dense product."""
RECURRENT_NONZERO_COST = 2.5
"""Time, and bytes, of a nonzero of recurrent weights over those of an element of dense ones."""
RECURRENT_SPARSITY_EXPECTED = ((1, 0.7), (8, 0.9))
"""(batch items up to, share of zeros) from which sparse recurrent weights are expected to win: with
every item a dense weight that was read once does more work."""
DENSE_BIAS = 1.03
"""What a sparse kernel must gain: dense wins ties."""
FOURS_TRIED = 0.8
"""Share of fours of 8-bit weights (lower/byte_product.py) up to which sparse is considered."""
FOURS_EXPECTED = 0.6
"""Share below which it is expected to win."""
FOUR_COST = 1.3
"""Time of a step over four weights in a sparse kernel, over that in the dense one."""
FOURS_LOW = 0.15
"""As DENSITY_LOW, for fours of 8-bit weights."""
BYTE_BLOCK_SCALES = (0.75, 1.0, 2.0)
"""Depth blocks of fours to measure, over choose_byte_block's."""
AVX512_LANES = 64
"""Columns of an AVX-512 panel."""
BYTE_SPEED = {"portable": 0.2, "avx2": 2.4, "avx512": 2.4, "avx512_vnni": 3.2, "amx": 8.0}
"""Speed of the dense kernel on 8 bits over the dense float32 one, by instruction set. AMX: a guess."""
VECTOR_LANES = {"portable": 16, "avx2": 8, "avx512": 16, "avx512_vnni": 16, "amx": 16}
"""Columns of a vector: the last panel costs by the vectors that it fills."""
ROWS_COST = 3.0
"""Time of an operation of a dense product on rows, over one on columns: it waits for weights."""
MOVED_COST = 2.0
"""Time of a byte that a border reads or writes, over that of an operation."""
FORM_DOUBT = 1.5
"""Factor by which these costs are trusted to tell 8 bits from float32: nearer ones are measured."""
FORM_BIAS = 1.1
"""What float32 must gain over 8 bits, which take a quarter of the memory around them."""
ROWS_BIAS = 1.2
"""As DENSE_BIAS, where the dense kernel reads and makes rows as they are and the sparse one needs
columns: the conversions are not in the measurement."""
L1_DEPTH = 128
"""Rows of an AVX-512 panel (256 bytes each) that fill L1."""
DENSITY_LOW = 0.07
"""Density below which a row has so few nonzeros in L1_DEPTH rows that adding up depth blocks costs
more than reading X from L2."""


def is_sparse_loop_expected(batch: int, sparsity: float, isa: str) -> bool:
    """Whether the loop of a recurrent layer is expected to win by sparse weights. Portable code
    spends more on choosing the elements of h than it saves."""
    return isa != "portable" and any(
        batch <= most and sparsity >= least for most, least in RECURRENT_SPARSITY_EXPECTED
    )


def choose_k_block(
    depth: int, density: float, depth_max: int, rows_each: int = 1, scale: float = 1.0
) -> int:
    """Length of depth blocks, in units of `rows_each` rows of X, at most `depth_max`: even blocks.

    `scale` changes the wanted length: another variant to measure.
    """
    wanted = int(scale * (L1_DEPTH if density > DENSITY_LOW else 2 * L1_DEPTH))
    most = max(1, min(depth_max, wanted // rows_each))
    num_blocks = -(-depth // most)
    return -(-depth // num_blocks)


def choose_byte_block(fours: float, lanes: int, scale: float = 1.0) -> int:
    """Fours of a depth block of 8-bit weights that fill L1, for panels of `lanes` columns."""
    wanted = L1_DEPTH if fours > FOURS_LOW else 2 * L1_DEPTH
    return int(scale * wanted) * AVX512_LANES // lanes
