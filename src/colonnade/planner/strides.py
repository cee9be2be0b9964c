"""Strided index spaces as kernel parameters; `native/exec/ops/space_params.h` reads them.

Strides count elements. A space is dimensions and, for every operand, a start and strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from colonnade.planner.plan import Param

MAX_RANK = 8


@dataclass(frozen=True, slots=True)
class Walk:
    """How one operand is walked: offset of the first element, stride of each axis."""

    strides: tuple[int, ...]
    start: int = 0


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    strides: list[int] = []
    stride = 1
    for dim in reversed(shape):
        strides.append(stride)
        stride *= dim
    return tuple(reversed(strides))


def broadcast(shape: Sequence[int], to: Sequence[int]) -> tuple[int, ...]:
    """Strides that walk a contiguous tensor of `shape` over the larger shape `to`.

    >>> broadcast((3, 1), (2, 3, 4))
    (0, 1, 0)
    """
    missing = len(to) - len(shape)
    own = row_major(shape)
    return (0,) * missing + tuple(
        0 if dim == 1 else stride for dim, stride in zip(shape, own, strict=True)
    )


def fuse_axes(
    dims: Sequence[int], walks: Sequence[Walk]
) -> tuple[tuple[int, ...], tuple[Walk, ...]]:
    """The same walk with fewer axes: ones are dropped, neighbours that every operand walks as one
    are joined. At least one axis is left.

    >>> fuse_axes((2, 1, 3, 4), [Walk((12, 12, 4, 1))])
    ((24,), (Walk(strides=(1,), start=0),))
    """
    fused: list[int] = []
    strides: list[list[int]] = []
    for axis, dim in enumerate(dims):
        if dim == 1:
            continue
        steps = [walk.strides[axis] for walk in walks]
        is_one = bool(fused) and all(
            outer == step * dim for outer, step in zip(strides[-1], steps, strict=True)
        )
        if is_one:
            fused[-1] *= dim
            strides[-1] = steps
        else:
            fused.append(dim)
            strides.append(steps)
    if not fused:
        fused, strides = [1], [[1] * len(walks)]
    return tuple(fused), tuple(
        Walk(tuple(steps[i] for steps in strides), walk.start) for i, walk in enumerate(walks)
    )


def space_params(dims: Sequence[int], walks: Sequence[Walk]) -> tuple[Param, ...] | None:
    """The fused space as parameters; None when more than MAX_RANK axes are left."""
    fused, fused_walks = fuse_axes(dims, walks)
    if len(fused) > MAX_RANK:
        return None
    params: list[Param] = [fused]
    for walk in fused_walks:
        params += [walk.start, walk.strides]
    return tuple(params)
