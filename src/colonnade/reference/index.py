"""Reading and writing by index, and operations whose result is indices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import (
    axis_of,
    has_attr,
    int_attr,
    int_list,
    scalar_int,
    str_attr,
)
from colonnade.reference.budget import reserve
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operations, Outputs

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]

_REDUCTIONS: dict[str, np.ufunc] = {
    "add": np.add,
    "mul": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}


def wrapped(indices: np.ndarray, size: int) -> np.ndarray:
    """Indices counted from the front; refuses one outside [-size, size)."""
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        raise EvaluationError(
            f"index {indices.min()}..{indices.max()} is outside an axis of {size}"
        )
    return np.where(indices < 0, indices + size, indices).astype(np.int64)


def _gather(node: Node, x: np.ndarray, indices: np.ndarray) -> Outputs:
    axis = axis_of(int_attr(node, "axis", 0), x.ndim)
    reserve((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
    return (np.take(x, wrapped(indices, x.shape[axis]), axis),)


def _gather_elements(node: Node, x: np.ndarray, indices: np.ndarray) -> Outputs:
    axis = axis_of(int_attr(node, "axis", 0), x.ndim)
    return (x[_along(x, wrapped(indices, x.shape[axis]), axis)],)


def _along(x: np.ndarray, indices: np.ndarray, axis: int) -> tuple[np.ndarray, ...]:
    """The index that replaces one axis by `indices` and keeps the others' positions."""
    if indices.ndim != x.ndim:
        raise EvaluationError(f"indices of rank {indices.ndim} into rank {x.ndim}")
    for i, (size, have) in enumerate(zip(indices.shape, x.shape, strict=True)):
        if i != axis and size > have:
            raise EvaluationError(f"indices {list(indices.shape)} exceed {list(x.shape)}")
    places = list(np.ogrid[tuple(slice(size) for size in indices.shape)])
    places[axis] = indices
    return tuple(places)


def _gather_nd(node: Node, x: np.ndarray, indices: np.ndarray) -> Outputs:
    batch = int_attr(node, "batch_dims", 0)
    depth = indices.shape[-1]
    if not 0 <= batch < min(x.ndim, indices.ndim) or depth > x.ndim - batch:
        raise EvaluationError(f"indices {list(indices.shape)} into {list(x.shape)}")
    if indices.shape[:batch] != x.shape[:batch]:
        raise EvaluationError(f"batch of {list(indices.shape)} and {list(x.shape)} differs")
    reserve((*indices.shape[:-1], *x.shape[batch + depth :]), x.dtype)
    spots = [wrapped(indices[..., i], x.shape[batch + i]) for i in range(depth)]
    leading = np.ogrid[tuple(slice(size) for size in indices.shape[:batch])] if batch else []
    tail = (1,) * (indices.ndim - 1 - batch)
    return (x[(*(lead.reshape(lead.shape + tail) for lead in leading), *spots)],)


def _scatter_elements(
    node: Node, x: np.ndarray, indices: np.ndarray, updates: np.ndarray
) -> Outputs:
    axis = axis_of(int_attr(node, "axis", 0), x.ndim)
    if updates.shape != indices.shape:
        raise EvaluationError(f"updates {list(updates.shape)}, indices {list(indices.shape)}")
    result = x.copy()
    places = _along(x, wrapped(indices, x.shape[axis]), axis)
    _write(result, places, updates, str_attr(node, "reduction", "none"))
    return (result,)


def _scatter_nd(node: Node, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> Outputs:
    depth = indices.shape[-1]
    if depth > x.ndim or updates.shape != (*indices.shape[:-1], *x.shape[depth:]):
        raise EvaluationError(
            f"updates {list(updates.shape)}, indices {list(indices.shape)}, data {list(x.shape)}"
        )
    result = x.copy()
    places = tuple(wrapped(indices[..., i], x.shape[i]) for i in range(depth))
    _write(result, places, updates, str_attr(node, "reduction", "none"))
    return (result,)


def _write(
    result: np.ndarray, places: tuple[np.ndarray, ...], updates: np.ndarray, reduction: str
) -> None:
    if reduction == "none":
        result[places] = updates
    elif reduction in _REDUCTIONS:
        _REDUCTIONS[reduction].at(result, places, updates)
    else:
        raise EvaluationError(f"reduction {reduction!r} is not none, add, mul, min or max")


def _tensor_scatter(
    node: Node, cache: np.ndarray, update: np.ndarray, starts: np.ndarray | None = None
) -> Outputs:
    """Write each sample's update into its cache, from its own position on."""
    axis = axis_of(int_attr(node, "axis", -2), cache.ndim)
    if axis == 0:
        raise EvaluationError("the batch axis cannot be the sequence")
    size, count = cache.shape[axis], update.shape[axis]
    result = cache.copy()
    begins = [0] * cache.shape[0] if starts is None else int_list(starts)
    for sample, begin in enumerate(begins):
        places = np.arange(begin, begin + count)
        if str_attr(node, "mode", "linear") == "circular":
            places %= size
        index = (slice(None),) * (axis - 1) + (wrapped(places, size),)
        result[sample][index] = update[sample]
    return (result,)


def _top_k(node: Node, x: np.ndarray, k: np.ndarray | None = None) -> Outputs:
    axis = axis_of(int_attr(node, "axis", -1), x.ndim)
    count = int_attr(node, "k") if k is None else scalar_int(k)
    if not 0 <= count <= x.shape[axis]:
        raise EvaluationError(f"k={count} of an axis of {x.shape[axis]}")
    if int_attr(node, "largest", 1):
        # Flipped twice, so that of equal elements the lower index comes first.
        flipped = np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
        order = x.shape[axis] - 1 - flipped
    else:
        order = np.argsort(x, axis, kind="stable")
    chosen = order.take(range(count), axis)
    return np.take_along_axis(x, chosen, axis), chosen.astype(np.int64)


def _one_hot(node: Node, indices: np.ndarray, depth: np.ndarray, values: np.ndarray) -> Outputs:
    axis = axis_of(int_attr(node, "axis", -1), indices.ndim + 1)
    count = scalar_int(depth)
    reserve((*indices.shape, count), values.dtype)
    places = indices.astype(np.int64)
    places = np.where(places < 0, places + count, places)
    is_hot = np.expand_dims(places, axis) == np.arange(count).reshape(
        (-1,) + (1,) * (indices.ndim - axis)
    )
    return (np.where(is_hot, values[1], values[0]).astype(values.dtype),)


def _non_zero(node: Node, x: np.ndarray) -> Outputs:
    del node
    found = np.nonzero(x.reshape(1) if x.ndim == 0 else x)
    return (np.array(found, np.int64).reshape(max(x.ndim, 1), -1),)


def _compress(node: Node, x: np.ndarray, condition: np.ndarray) -> Outputs:
    if not has_attr(node, "axis"):
        return (np.compress(condition, x.reshape(-1)),)
    return (np.compress(condition, x, axis_of(int_attr(node, "axis"), x.ndim)),)


def _unique(node: Node, x: np.ndarray) -> Outputs:
    axis = axis_of(int_attr(node, "axis"), x.ndim) if has_attr(node, "axis") else None
    values, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not int_attr(node, "sorted", 1):
        order = np.argsort(first, kind="stable")
        values = np.take(values, order, axis or 0)
        first, counts = first[order], counts[order]
        rank = np.empty_like(order)
        rank[order] = np.arange(order.size)
        inverse = rank[inverse]
    return values, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)


def _array_feature_extractor(node: Node, x: np.ndarray, indices: np.ndarray) -> Outputs:
    del node
    chosen = x[..., wrapped(indices.reshape(-1), x.shape[-1])]
    return (chosen.reshape(1, -1) if x.ndim == 1 else chosen,)


def _non_max_suppression(
    node: Node,
    boxes: np.ndarray,
    scores: np.ndarray,
    max_per_class: np.ndarray | None = None,
    iou_threshold: np.ndarray | None = None,
    score_threshold: np.ndarray | None = None,
) -> Outputs:
    limit = 0 if max_per_class is None else scalar_int(max_per_class)
    overlap = 0.0 if iou_threshold is None else float(iou_threshold.reshape(-1)[0])
    lowest = -np.inf if score_threshold is None else float(score_threshold.reshape(-1)[0])
    corners = _corners(boxes, bool(int_attr(node, "center_point_box", 0)))
    found = [
        (batch, group, box)
        for batch, group in np.ndindex(*scores.shape[:2])
        for box in _suppress(corners[batch], scores[batch, group], limit, overlap, lowest)
    ]
    return (np.array(found, np.int64).reshape(-1, 3),)


def _corners(boxes: np.ndarray, is_center: bool) -> np.ndarray:
    """[..., 4] as low y, low x, high y, high x."""
    if is_center:
        x, y, width, height = np.moveaxis(boxes, -1, 0)
        return np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], -1)
    first, second = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1)


def _suppress(
    boxes: np.ndarray, scores: np.ndarray, limit: int, overlap: float, lowest: float
) -> list[int]:
    """Greedy choice by score; an equal score goes to the lower index."""
    chosen: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for box in np.argsort(-scores, kind="stable"):
        if len(chosen) >= limit or scores[box] <= lowest:
            break
        low = np.maximum(boxes[chosen, :2], boxes[box, :2])
        high = np.minimum(boxes[chosen, 2:], boxes[box, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[chosen] + areas[box] - shared
        if not ((shared > overlap * union) & (union > 0)).any():
            chosen.append(int(box))
    return chosen


OPS: Operations = {
    ("", "Gather"): _gather,
    ("", "GatherElements"): _gather_elements,
    ("", "GatherND"): _gather_nd,
    ("", "Scatter"): _scatter_elements,
    ("", "ScatterElements"): _scatter_elements,
    ("", "ScatterND"): _scatter_nd,
    ("", "TensorScatter"): _tensor_scatter,
    ("", "TopK"): _top_k,
    ("", "OneHot"): _one_hot,
    ("", "NonZero"): _non_zero,
    ("", "Compress"): _compress,
    ("", "Unique"): _unique,
    ("", "NonMaxSuppression"): _non_max_suppression,
    ("ai.onnx.ml", "ArrayFeatureExtractor"): _array_feature_extractor,
}
