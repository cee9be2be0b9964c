"""Sliding windows over the spatial axes: extents, padding, and the shifted views of each tap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import EllipsisType

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import int_attr, ints_attr, str_attr
from colonnade.reference.budget import reserve, reserve_work
from colonnade.reference.failure import EvaluationError

Index = tuple[int, ...]
Slices = tuple[EllipsisType | slice, ...]


@dataclass(frozen=True)
class Window:
    """A kernel's walk over the spatial axes; one number an axis in each field."""

    kernel: Index
    strides: Index
    dilations: Index
    begin: Index
    end: Index
    outputs: Index

    def padded(self, x: np.ndarray, value: float) -> np.ndarray:
        """x with its spatial (last) axes padded so that every tap of every output lies inside."""
        leading = x.ndim - len(self.kernel)
        widths = [(0, 0)] * leading
        for i, size in enumerate(x.shape[leading:]):
            reach = (self.outputs[i] - 1) * self.strides[i]
            reach += (self.kernel[i] - 1) * self.dilations[i] + 1
            widths.append((self.begin[i], max(0, reach - size - self.begin[i])))
        reserve(
            [size + low + high for size, (low, high) in zip(x.shape, widths, strict=True)], x.dtype
        )
        return np.pad(x, widths, constant_values=value)

    def taps(self, padded: np.ndarray) -> Iterator[tuple[Index, np.ndarray]]:
        """Each kernel position with the elements that it meets, one for each output."""
        for tap in np.ndindex(*self.kernel):
            yield tap, padded[self.slices(tap)]

    def slices(self, tap: Index) -> Slices:
        """Where a kernel position reads the padded input, over all outputs."""
        starts = [t * d for t, d in zip(tap, self.dilations, strict=True)]
        walks = zip(starts, self.strides, self.outputs, strict=True)
        return (..., *(slice(a, a + step * (count - 1) + 1, step) for a, step, count in walks))


def window_of(node: Node, spatial: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window that a convolution or pooling node describes on an input of this size."""
    rank = len(spatial)
    strides = _per_axis(node, "strides", rank)
    dilations = _per_axis(node, "dilations", rank)
    if len(kernel) != rank or any(k < 1 for k in kernel):
        raise EvaluationError(f"kernel {list(kernel)} on {rank} spatial axes")
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    begin, end = _pads(node, spatial, extents, strides)
    is_ceil = bool(int_attr(node, "ceil_mode", 0))
    outputs = []
    for i, size in enumerate(spatial):
        room = size + begin[i] + end[i] - extents[i]
        count = (-(-room // strides[i]) if is_ceil else room // strides[i]) + 1
        # A window that would start in the end padding has nothing to see.
        if is_ceil and (count - 1) * strides[i] >= size + begin[i]:
            count -= 1
        outputs.append(max(count, 0))
    reserve_work(int(np.prod([float(n) for n in (*outputs, *kernel)])))
    return Window(tuple(kernel), strides, dilations, begin, end, tuple(outputs))


def _per_axis(node: Node, name: str, rank: int) -> Index:
    values = ints_attr(node, name, (1,) * rank)
    if len(values) != rank or any(value < 1 for value in values):
        raise EvaluationError(f"{name}={list(values)} on {rank} spatial axes")
    return values


def _pads(
    node: Node, spatial: Sequence[int], extents: Sequence[int], strides: Index
) -> tuple[Index, Index]:
    rank = len(spatial)
    auto_pad = str_attr(node, "auto_pad", "NOTSET")
    if auto_pad == "VALID":
        return (0,) * rank, (0,) * rank
    if auto_pad in ("", "NOTSET"):
        pads = ints_attr(node, "pads", (0,) * (2 * rank))
        if len(pads) != 2 * rank or any(pad < 0 for pad in pads):
            raise EvaluationError(f"pads={list(pads)} on {rank} spatial axes")
        return pads[:rank], pads[rank:]
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise EvaluationError(f"auto_pad={auto_pad!r} is unknown")
    totals = [
        max((-(-size // step) - 1) * step + extent - size, 0)
        for size, step, extent in zip(spatial, strides, extents, strict=True)
    ]
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return (small, large) if auto_pad == "SAME_UPPER" else (large, small)
