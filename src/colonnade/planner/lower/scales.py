"""Zero points as operands: constant, or made by the run."""

from __future__ import annotations

import numpy as np

from colonnade.ir import DType
from colonnade.planner.choice import SIGNED_SHIFT, Absent, Const, In, Operand, View

RUN_ZERO = "a zero point of int8 that the run makes"
"""Why a node is refused: columns hold int8 as uint8, 128 more."""


def zero_operand(value: str, view: View) -> Operand:
    """A zero point as columns hold it: of int8, 128 more."""
    if not value:
        return Absent()
    array = view.constant(value)
    if array is None:
        return In(value)
    shift = SIGNED_SHIFT if array.dtype == np.int8 else 0
    zero = array
    return Const(
        (value, "zero"), lambda: (zero.reshape(-1).astype(np.int16) + shift).astype(np.uint8)
    )


def default_zero(dtype: DType) -> Const:
    """The zero point where none is given, as columns hold it."""
    zero = SIGNED_SHIFT if dtype is DType.INT8 else 0
    return Const(("zero point", zero), lambda: np.array([zero], np.uint8))


def has_run_zero(value: str, zero: str, view: View) -> bool:
    """True for int8 with a zero point that is not constant."""
    return bool(zero) and view.dtype(value) is DType.INT8 and view.constant(zero) is None
