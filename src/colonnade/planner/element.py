"""Codes of element types in kernel parameters; the other side of `native/base/dtype.h`."""

from __future__ import annotations

from colonnade.ir import DType

ELEMENT_CODE: dict[DType, int] = {
    DType.FLOAT32: 0,
    DType.INT32: 1,
    DType.INT64: 2,
    DType.BOOL: 3,
    DType.UINT8: 4,
    DType.INT8: 5,
    DType.FLOAT64: 6,
    DType.FLOAT16: 7,
    DType.INT16: 8,
    DType.UINT16: 9,
    DType.UINT32: 10,
    DType.UINT64: 11,
}

MOVABLE_BYTES = (1, 2, 4, 8)
"""Item sizes that the kernels which only move items take."""

NUMERIC = frozenset(ELEMENT_CODE) - {DType.BOOL, DType.FLOAT16}
"""Types with arithmetic in every generic kernel."""
INTEGERS = NUMERIC - {DType.FLOAT32, DType.FLOAT64}
"""Types with bits to shift."""
