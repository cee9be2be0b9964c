"""How far sums of products of 8-bit integers are exact: what passes and planner agree on."""

from __future__ import annotations

BYTE_DEPTH_MAX = 1 << 15
"""Terms of a sum of uint8 x int8 that fit int32 with room for the zero point: kByteDepthMax of
native/kernels/qmatmul/qmatmul.h."""
FLOAT_EXACT_MAX = 1 << 24
"""Every integer up to here is a float32, so that float32 sums of such are exact in any order."""
