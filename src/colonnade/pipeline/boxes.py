"""Boxes of objects: [count, 4] arrays of left, top, right, bottom."""

from __future__ import annotations

import numpy as np


def from_centers(boxes: np.ndarray) -> np.ndarray:
    """Centre x, centre y, width, height to corners."""
    center, half = boxes[..., :2], boxes[..., 2:4] / 2
    return np.concatenate([center - half, center + half], -1)


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with others."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), -1)
    areas = np.prod(np.clip(others[:, 2:] - others[:, :2], 0, None), -1)
    own = float(np.prod(np.clip(box[2:] - box[:2], 0, None)))
    return np.asarray(shared / np.maximum(own + areas - shared, np.finfo(np.float64).tiny))


def suppress(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou_max: float, count: int
) -> list[int]:
    """Non-maximum suppression within each class: the boxes to keep, surest first."""
    waiting = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while waiting.size and len(kept) < count:
        first, rest = int(waiting[0]), waiting[1:]
        kept.append(first)
        is_same = classes[rest] == classes[first]
        waiting = rest[~(is_same & (overlap(boxes[first], boxes[rest]) > iou_max))]
    return kept
