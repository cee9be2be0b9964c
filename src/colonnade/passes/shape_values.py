"""Partly known integer values: what shape arithmetic still tells when a dimension is unknown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.ir import Node, Shape, TensorType

MAX_ELEMENTS = 1024
"""Longer values are not shapes."""

MOVERS: dict[str, int] = {
    **dict.fromkeys(("Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Identity"), 1),
    **dict.fromkeys(("Flatten", "Transpose"), 1),
    "Concat": 1 << 30,
}
"""Operations that move elements and do not look at them: how many leading inputs they move."""

ELEMENT_WISE = frozenset(("Add", "Sub", "Mul", "Div", "Min", "Max", "Cast", "Neg", "Abs", "Mod"))


@dataclass(frozen=True, slots=True)
class PartialValue:
    """An integer array of which the elements marked in `known` are certain; the rest hold 1."""

    array: np.ndarray
    known: np.ndarray

    @staticmethod
    def full(array: np.ndarray) -> PartialValue:
        """A value that is known everywhere."""
        return PartialValue(array, np.ones(array.shape, np.bool_))

    @staticmethod
    def of_shape(shape: Shape) -> PartialValue:
        """The result of Shape on a value of this shape."""
        dims = [dim if isinstance(dim, int) else 1 for dim in shape]
        known = [isinstance(dim, int) for dim in shape]
        return PartialValue(np.array(dims, np.int64), np.array(known, np.bool_))

    @property
    def is_full(self) -> bool:
        """True when nothing is uncertain."""
        return bool(self.known.all())

    def as_dims(self) -> tuple[int | None, ...]:
        """The elements of a 1-D value, None where uncertain."""
        pairs = zip(self.array.tolist(), self.known.tolist(), strict=True)
        return tuple(int(dim) if known else None for dim, known in pairs)


Evaluate = Callable[[Node, Sequence[np.ndarray | None]], tuple[np.ndarray, ...]]


def propagate(
    node: Node, inputs: Sequence[PartialValue | None], evaluate: Evaluate
) -> PartialValue | None:
    """The node's first output, or None when nothing can be said about it.

    An absent input and an unknown one are both None: the caller passes nodes whose present
    inputs all have a value.
    """
    arrays = [value.array if value else None for value in inputs]
    if node.op in MOVERS:
        moved = MOVERS[node.op]
        if any(value is not None and not value.is_full for value in inputs[moved:]):
            return None
        marks = [v.known.astype(np.int64) if v else None for v in inputs[:moved]]
        mask = evaluate(node, [*marks, *arrays[moved:]])[0]
        return PartialValue(evaluate(node, arrays)[0], mask.astype(np.bool_))
    if node.op in ELEMENT_WISE:
        result = evaluate(node, arrays)[0]
        known = np.ones(result.shape, np.bool_)
        for value in inputs:
            known = known & (value.known if value else True)
        return PartialValue(np.where(known, result, result.dtype.type(1)), known)
    return None


def refine_shape(
    node: Node, types: Mapping[str, TensorType], values: Mapping[str, PartialValue]
) -> Shape | None:
    """The output shape that a partly known shape operand tells, or None."""
    operand = 0 if node.op == "ConstantOfShape" else 1
    if node.domain or operand >= len(node.inputs) or node.inputs[operand] not in values:
        return None
    target = values[node.inputs[operand]]
    if target.array.ndim != 1:
        return None
    dims = target.as_dims()
    if node.op == "ConstantOfShape":
        return dims
    data = types.get(node.inputs[0])
    shape = data.shape if data else None
    if node.op == "Reshape":
        return _reshaped(dims, shape, bool(node.attrs.get("allowzero", 0)))
    if node.op == "Expand" and shape is not None:
        return _expanded(dims, shape)
    return None


def _reshaped(dims: tuple[int | None, ...], shape: Shape | None, allowzero: bool) -> Shape:
    """`dims` as Reshape reads it: 0 copies, -1 takes the rest when all else is known."""
    out: list[int | str | None] = list(dims)
    for i, dim in enumerate(dims):
        if dim == 0 and not allowzero:
            out[i] = shape[i] if shape is not None and i < len(shape) else None
    if -1 not in out:
        return tuple(out)
    slot = out.index(-1)
    out[slot] = None
    rest = [dim for i, dim in enumerate(out) if i != slot]
    if shape is None or not all(isinstance(dim, int) for dim in (*rest, *shape)):
        return tuple(out)
    divisor = math.prod(dim for dim in rest if isinstance(dim, int))
    total = math.prod(dim for dim in shape if isinstance(dim, int))
    out[slot] = total // divisor if divisor else None
    return tuple(out)


def _expanded(dims: tuple[int | None, ...], shape: Shape) -> Shape:
    rank = max(len(dims), len(shape))
    left: Shape = (1,) * (rank - len(dims)) + dims
    right: Shape = (1,) * (rank - len(shape)) + shape
    return tuple(_broadcast_dim(a, b) for a, b in zip(left, right, strict=True))


def _broadcast_dim(a: int | str | None, b: int | str | None) -> int | str | None:
    if a == 1 or a == b:
        return b
    if b == 1:
        return a
    # An unknown dimension is either 1 or the other operand's, when that one is above 1.
    return a if isinstance(a, int) else b if isinstance(b, int) else None
