"""Pooling: over windows, over everything, and over regions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import float_attr, int_attr, ints_attr, str_attr
from colonnade.reference.budget import reserve, reserve_work
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operation, Operations, Outputs
from colonnade.reference.precision import mean, narrow, wide
from colonnade.reference.window import Window, window_of


def _pool_window(node: Node, x: np.ndarray) -> Window:
    if x.ndim < 3:
        raise EvaluationError(f"input of shape {list(x.shape)} has no spatial axis")
    window = window_of(node, x.shape[2:], ints_attr(node, "kernel_shape"))
    shape = reserve((*x.shape[:2], *window.outputs), np.float64)
    reserve_work(int(np.prod(shape)) * int(np.prod(window.kernel)))
    return window


def _lowest(dtype: np.dtype[np.generic]) -> float:
    return -np.inf if dtype.kind == "f" else float(np.iinfo(dtype.type).min)  # type: ignore[type-var]  # integer


def _max_pool(node: Node, x: np.ndarray) -> Outputs:
    window = _pool_window(node, x)
    order = "F" if int_attr(node, "storage_order", 0) else "C"
    plane = int(np.prod(x.shape[2:]))
    within = np.arange(plane).reshape(x.shape[2:], order=order)  # type: ignore[call-overload]
    places = window.padded(within, -1)
    best = np.full((*x.shape[:2], *window.outputs), _lowest(x.dtype), x.dtype)
    found = np.zeros(best.shape, np.int64)
    padded = window.padded(x, _lowest(x.dtype))
    for (_, seen), (_, place) in zip(window.taps(padded), window.taps(places), strict=True):
        # The first element inside the input stands until a greater one comes.
        is_new = (place >= 0) & ((found == 0) | (seen > best) | (np.isnan(seen) & ~np.isnan(best)))
        best = np.where(is_new, seen, best)
        found = np.where(is_new, place + 1, found)
    first = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * (x.ndim - 2)) * plane
    return best, (found - 1 + first).astype(np.int64)


def sum_windows(node: Node, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of every window of an AveragePool, and by how many positions it is divided."""
    window = _pool_window(node, x)
    total = np.asarray(sum(seen for _, seen in window.taps(window.padded(wide(x), 0))))
    return total, _window_counts(node, window, x.shape[2:])


def _average_pool(node: Node, x: np.ndarray) -> Outputs:
    total, positions = sum_windows(node, x)
    return (narrow(total / positions, x.dtype),)


def _window_counts(node: Node, window: Window, spatial: tuple[int, ...]) -> np.ndarray:
    """Elements that an average divides by: the input's, or with its declared padding."""
    ones = np.ones(spatial)
    if int_attr(node, "count_include_pad", 0):
        widths = list(zip(window.begin, window.end, strict=True))
        reach = window.padded(ones, 0).shape
        ones = np.pad(ones, widths, constant_values=1)
        ones = np.pad(ones, [(0, max(0, r - n)) for r, n in zip(reach, ones.shape, strict=True)])
    else:
        ones = window.padded(ones, 0)
    return np.asarray(sum(seen for _, seen in window.taps(ones)))


def _lp_pool(node: Node, x: np.ndarray) -> Outputs:
    window, p = _pool_window(node, x), float_attr(node, "p", 2)
    total = sum(np.abs(seen) ** p for _, seen in window.taps(window.padded(wide(x), 0)))
    return (narrow(np.asarray(total) ** (1 / p), x.dtype),)


def _global(function: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]) -> Operation:
    def evaluate(node: Node, x: np.ndarray) -> Outputs:
        del node
        return (narrow(function(wide(x), tuple(range(2, x.ndim))), x.dtype),)

    return evaluate


def _max(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.max(x, axis=axes, keepdims=True))


def _global_lp_pool(node: Node, x: np.ndarray) -> Outputs:
    p = float_attr(node, "p", 2)
    total = np.sum(np.abs(wide(x)) ** p, axis=tuple(range(2, x.ndim)), keepdims=True)
    return (narrow(total ** (1 / p), x.dtype),)


def _max_unpool(
    node: Node, x: np.ndarray, indices: np.ndarray, output_shape: np.ndarray | None = None
) -> Outputs:
    """Each value at its index; the indices count within the output that the attributes imply."""
    kernel = ints_attr(node, "kernel_shape")
    rank = len(kernel)
    strides = ints_attr(node, "strides", (1,) * rank)
    pads = ints_attr(node, "pads", (0,) * (2 * rank))
    implied = [
        (size - 1) * strides[i] - pads[i] - pads[rank + i] + kernel[i]
        for i, size in enumerate(x.shape[2:])
    ]
    shape = reserve((*x.shape[:2], *implied), x.dtype)
    flat = np.zeros(int(np.prod(shape)), x.dtype)
    if indices.size and (indices.min() < 0 or indices.max() >= flat.size):
        raise EvaluationError("an index is outside the output")
    flat[indices.reshape(-1)] = x.reshape(-1)
    result = flat.reshape(shape)
    if output_shape is None:
        return (result,)
    wanted = reserve([int(size) for size in output_shape], x.dtype)
    grown = np.zeros(wanted, x.dtype)
    at = tuple(slice(0, min(a, b)) for a, b in zip(wanted, shape, strict=True))
    grown[at] = result[at]
    return (grown,)


def _roi_align(node: Node, x: np.ndarray, rois: np.ndarray, batch_indices: np.ndarray) -> Outputs:
    height, width = int_attr(node, "output_height", 1), int_attr(node, "output_width", 1)
    default = "half_pixel" if node.version >= 16 else "output_half_pixel"
    mode = str_attr(node, "coordinate_transformation_mode", default)
    is_half_pixel = mode == "half_pixel"
    boxes = wide(rois) * float_attr(node, "spatial_scale", 1.0) - (0.5 if is_half_pixel else 0.0)
    reserve((rois.shape[0], x.shape[1], height, width), np.float64)
    result = np.zeros((rois.shape[0], x.shape[1], height, width))
    combine = np.mean if str_attr(node, "mode", "avg") == "avg" else np.max
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        image = wide(x[int(batch_indices[i])])
        extents = np.array([y2 - y1, x2 - x1])
        if not is_half_pixel:
            extents = np.maximum(extents, 1)
        bins = extents / (height, width)
        ratio = int_attr(node, "sampling_ratio", 0)
        counts = [ratio or max(int(np.ceil(size)), 1) for size in bins]
        reserve_work(counts[0] * counts[1] * height * width * x.shape[1])
        rows = y1 + (np.arange(height * counts[0]) + 0.5) * bins[0] / counts[0]
        cols = x1 + (np.arange(width * counts[1]) + 0.5) * bins[1] / counts[1]
        weighted = _sample_taps(image, rows, cols)
        points = weighted if combine is np.max else weighted.sum(axis=0)[None]
        grid = points.reshape(-1, x.shape[1], height, counts[0], width, counts[1])
        result[i] = combine(grid, axis=(0, 3, 5))
    return (narrow(result, x.dtype),)


def _sample_taps(image: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """The four weighted neighbours of each point: [4, C, rows, cols]; zero far outside."""
    pairs = [_neighbours(at, size) for at, size in zip((rows, cols), image.shape[1:], strict=True)]
    (low_row, high_row, row_part, row_ok), (low_col, high_col, col_part, col_ok) = pairs
    taps = [
        image[:, r][:, :, c] * (a[:, None] * b[None, :] * (row_ok[:, None] & col_ok[None, :]))
        for r, a in ((low_row, 1 - row_part), (high_row, row_part))
        for c, b in ((low_col, 1 - col_part), (high_col, col_part))
    ]
    return np.stack(taps)


def _neighbours(at: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    is_inside = (at >= -1) & (at <= size)
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(int)
    return low, np.minimum(low + 1, size - 1), at - low, is_inside


def _max_roi_pool(node: Node, x: np.ndarray, rois: np.ndarray) -> Outputs:
    height, width = ints_attr(node, "pooled_shape")
    scale = float_attr(node, "spatial_scale", 1.0)
    shape = reserve((rois.shape[0], x.shape[1], height, width), x.dtype)
    result = np.zeros(shape, x.dtype)
    for i, roi in enumerate(rois):
        image = x[int(roi[0])]
        x1, y1, x2, y2 = (int(np.round(value * scale)) for value in roi[1:])
        rows = _roi_bins(y1, y2, height, image.shape[1])
        cols = _roi_bins(x1, x2, width, image.shape[2])
        for (r, row), (c, col) in ((a, b) for a in enumerate(rows) for b in enumerate(cols)):
            part = image[:, row, col]
            if part.size:
                result[i, :, r, c] = part.max(axis=(1, 2))
    return (result,)


def _roi_bins(low: int, high: int, count: int, size: int) -> list[slice]:
    step = max(high - low + 1, 1) / count
    edges = [
        (int(np.floor(i * step)) + low, int(np.ceil((i + 1) * step)) + low) for i in range(count)
    ]
    return [slice(min(max(a, 0), size), min(max(b, 0), size)) for a, b in edges]


OPS: Operations = {
    ("", "MaxPool"): _max_pool,
    ("", "AveragePool"): _average_pool,
    ("", "LpPool"): _lp_pool,
    ("", "GlobalAveragePool"): _global(mean),
    ("", "GlobalMaxPool"): _global(_max),
    ("", "GlobalLpPool"): _global_lp_pool,
    ("", "MaxUnpool"): _max_unpool,
    ("", "RoiAlign"): _roi_align,
    ("", "MaxRoiPool"): _max_roi_pool,
}
