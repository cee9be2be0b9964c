"""Follow a value back through transposes, reshapes and expansions, keeping track of every element.

The index map is computed, not pattern-matched: `MovedValue.index_of` says which element of the
source each element of the value is. Exporters write head splits in many ways; this sees through all
of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from colonnade.ir import Graph, Node, is_static

_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
SAMPLES = 4096


@dataclass(frozen=True)
class MovedValue:
    """`value`, as seen from a later value: `index_of` are flat positions of its elements."""

    value: str
    index_of: np.ndarray


def is_move(node: Node) -> bool:
    """True for operations that only move elements."""
    return not node.domain and (node.op in _RESHAPES or node.op in ("Transpose", "Expand"))


def trace_back(
    graph: Graph, value: str, coordinates: tuple[np.ndarray, ...]
) -> Iterator[MovedValue]:
    """The value itself, then each value it is a moved copy of, at the sampled coordinates."""
    shape = graph.shape(value)
    assert is_static(shape)
    flat = np.ravel_multi_index(coordinates, shape)
    yield MovedValue(value, flat)
    while (node := graph.producer.get(value)) is not None and is_move(node):
        source = graph.shape(node.inputs[0])
        own = graph.shape(node.outputs[0])
        if not is_static(source) or not is_static(own):
            return
        flat = _step_back(node, flat, own, source)
        value = node.inputs[0]
        yield MovedValue(value, flat)


def _step_back(
    node: Node, flat: np.ndarray, own: tuple[int, ...], source: tuple[int, ...]
) -> np.ndarray:
    if node.op in _RESHAPES:
        return flat
    at = np.unravel_index(flat, own)
    if node.op == "Transpose":
        perm = cast(tuple[int, ...], node.attrs.get("perm", tuple(reversed(range(len(own))))))
        moved = [np.zeros_like(flat)] * len(source)
        for axis, origin in enumerate(perm):
            moved[origin] = at[axis]
        turned: np.ndarray = np.ravel_multi_index(tuple(moved), source)
        return turned
    kept = at[len(own) - len(source) :]
    clamped = [np.zeros_like(flat) if dim == 1 else c for dim, c in zip(source, kept, strict=True)]
    if not source:
        return np.zeros_like(flat)
    positions: np.ndarray = np.ravel_multi_index(tuple(clamped), source)
    return positions


def sample_coordinates(shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Every step along each axis, and a fixed random sample: enough to tell two moves apart."""
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, dim, SAMPLES) for dim in shape]
    for axis, dim in enumerate(shape):
        steps = np.arange(dim)
        for i in range(len(shape)):
            columns[i] = np.concatenate([columns[i], steps if i == axis else np.zeros_like(steps)])
    return tuple(columns)


def features_last_index(
    coordinates: tuple[np.ndarray, ...], heads: int, group: int, size: int, depth: int
) -> np.ndarray:
    """Flat positions in [batch, size, heads * depth] of (batch, head, position, i) coordinates.

    `group` query heads share one of `heads` heads.
    """
    batch, head, position, i = coordinates
    index: np.ndarray = ((batch * size + position) * heads + head // group) * depth + i
    return index


def num_columns(shape: tuple[int, ...]) -> int:
    """Product of all axes but the last."""
    return math.prod(shape[:-1])
