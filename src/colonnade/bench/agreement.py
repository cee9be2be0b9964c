"""Whether two engines gave the same answer, within what rounding explains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ROUNDINGS = 1024
"""Steps in the last place of the largest value that two orders of the same sums may lie apart
over the depth of a model. For float32 a share of 1.2e-4, near ONNX Runtime's own bound."""


@dataclass(frozen=True)
class Agreement:
    """The largest difference over all outputs, and whether every output is within its tolerance."""

    max_abs_error: float
    is_close: bool
    worst_output: str
    tolerance: float
    """Of the worst output."""


def compare_outputs(
    made: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    tolerance: float | None = None,
) -> Agreement:
    """Compare by name, or by position where an engine renames its outputs.

    `tolerance` is a share of the largest expected value; by default it is computed from the
    element type.
    """
    if len(made) != len(expected):
        return Agreement(float("inf"), False, "number of outputs", 0.0)
    if set(made) != set(expected):
        made = dict(zip(expected, made.values(), strict=True))
    found = [_compare(name, made[name], expected[name], tolerance) for name in expected]
    worst = max(found, key=_excess)
    largest = max((agreement.max_abs_error for agreement in found), default=0.0)
    is_close = all(agreement.is_close for agreement in found)
    return Agreement(largest, is_close, worst.worst_output, worst.tolerance)


def _excess(agreement: Agreement) -> float:
    if agreement.tolerance > 0:
        return agreement.max_abs_error / agreement.tolerance
    return agreement.max_abs_error


def _compare(
    name: str, made: np.ndarray, expected: np.ndarray, tolerance: float | None
) -> Agreement:
    if made.shape != expected.shape:
        return Agreement(float("inf"), False, name, 0.0)
    if expected.dtype.kind not in "fiub":
        equal = bool(np.array_equal(made, expected))
        return Agreement(0.0 if equal else float("inf"), equal, name, 0.0)
    allowed = absolute_tolerance(expected, tolerance)
    error = max_abs_error(made, expected)
    return Agreement(error, error <= allowed, name, allowed)


def absolute_tolerance(expected: np.ndarray, tolerance: float | None = None) -> float:
    """What two engines may differ by: eps * ROUNDINGS * max|expected|; one step for 8-bit codes."""
    if expected.dtype.kind != "f":
        return 1.0 if expected.dtype.itemsize == 1 and expected.dtype.kind in "iu" else 0.0
    share = float(np.finfo(expected.dtype).eps) * ROUNDINGS if tolerance is None else tolerance
    finite = np.abs(expected[np.isfinite(expected)], dtype=np.float64)
    return share * float(finite.max(initial=0.0))


def max_abs_error(made: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference; infinite where NaN or infinities are not in the same places."""
    a, b = made.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if bool(np.all(same)):
        return 0.0
    difference = np.abs(a[~same] - b[~same])
    return float("inf") if np.isnan(difference).any() else float(difference.max())
