"""How sparsity grows: pure functions from progress in [0, 1] to a share in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

Schedule = Callable[[float], float]


def linear(progress: float) -> float:
    """As much in every step."""
    return progress


def cubic(progress: float) -> float:
    """Fast at first, slow at the end: 1 - (1 - p)^3.

    >>> cubic(0.5)
    0.875
    """
    return polynomial(progress, 3.0)


def inverse_cubic(progress: float) -> float:
    """Slow at first, fast at the end: 1 - (1 - p)^(1/3).

    >>> inverse_cubic(0.875)
    0.5
    """
    return polynomial(progress, 1 / 3)


def polynomial(progress: float, exponent: float) -> float:
    """1 - (1 - p)^exponent; 1 is linear, 3 is cubic.

    >>> polynomial(0.5, 2.0)
    0.75
    """
    return float(1 - (1 - progress) ** exponent)


def multi_step(progress: float, milestones: Sequence[float]) -> float:
    """Equal jumps, one at each milestone (progress in [0, 1], ascending).

    >>> [multi_step(p, (0.25, 0.5)) for p in (0.0, 0.25, 0.49, 0.5)]
    [0.0, 0.5, 0.5, 1.0]
    """
    return sum(progress >= milestone for milestone in milestones) / len(milestones)


SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {"linear": linear, "cubic": cubic, "inverse_cubic": inverse_cubic}
)
"""The schedules without parameters, by the names that recipes use."""


def interpolate(initial: float, final: float, share: float) -> float:
    """From `initial` (share 0) to `final` (share 1), exact at both."""
    return final if share >= 1 else initial + (final - initial) * share
