"""Shapes: a dimension is a number, a symbol's name, or None when nothing is known."""

from __future__ import annotations

import math
from typing import TypeGuard

Dim = int | str | None
Shape = tuple[Dim, ...]


def is_static(shape: Shape | None) -> TypeGuard[tuple[int, ...]]:
    """True when the rank and every dimension are known numbers."""
    return shape is not None and all(isinstance(dim, int) for dim in shape)


def num_elements(shape: tuple[int, ...]) -> int:
    """Product of the dimensions; 1 for a scalar."""
    return math.prod(shape)
