"""Small constants of a call: scales, biases, one value for each feature."""

from __future__ import annotations

import numpy as np

from colonnade.planner.choice import Absent, Const, In, Operand, View


def float_operand(value: str, view: View) -> Operand:
    """A float32 value, flat when it is a constant, in rows when the run makes it; absent for ""."""
    if not value:
        return Absent()
    array = view.constant(value)
    return In(value) if array is None else flat_floats(value, array)


def flat_floats(value: str, array: np.ndarray) -> Const:
    """A constant's elements in order, as float32."""
    return Const((value, "flat"), lambda: np.ascontiguousarray(array.reshape(-1), dtype=np.float32))
