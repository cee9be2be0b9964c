"""Resampling: resize by scales or sizes, and sampling on a grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import (
    axes_of,
    float_attr,
    floats_attr,
    int_attr,
    int_list,
    ints_attr,
    str_attr,
)
from colonnade.reference.budget import reserve
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operations, Outputs
from colonnade.reference.precision import narrow, wide

Kernel = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Axis:
    """One resized axis: sizes, the scale between them, and the region of interest."""

    size: int
    out: int
    scale: float
    roi_start: float = 0.0
    roi_end: float = 1.0


def _upsample(node: Node, x: np.ndarray, scales: np.ndarray | None = None) -> Outputs:
    factors = list(floats_attr(node, "scales")) if scales is None else _floats(scales)
    return (_resample(node, x, range(x.ndim), _by_scales(x.shape, factors)),)


def _resize(
    node: Node,
    x: np.ndarray,
    roi: np.ndarray | None = None,
    scales: np.ndarray | None = None,
    sizes: np.ndarray | None = None,
) -> Outputs:
    if node.version < 11:
        return _upsample(node, x, roi)
    axes = axes_of(ints_attr(node, "axes", range(x.ndim)), x.ndim)
    inside = [x.shape[axis] for axis in axes]
    regions = (
        _floats(roi) if roi is not None and roi.size else [0.0] * len(axes) + [1.0] * len(axes)
    )
    if len(regions) != 2 * len(axes):
        raise EvaluationError(f"roi of {len(regions)} numbers for {len(axes)} axes")
    if scales is not None and scales.size:
        walks = _by_scales(inside, _floats(scales), regions, _is_crop(node))
    elif sizes is not None:
        walks = _by_sizes(node, inside, int_list(sizes), regions)
    else:
        raise EvaluationError("neither scales nor sizes")
    return (_resample(node, x, axes, walks),)


def _floats(array: np.ndarray) -> list[float]:
    return [float(item) for item in array.reshape(-1).tolist()]


def _is_crop(node: Node) -> bool:
    return str_attr(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"


def _by_scales(
    inside: tuple[int, ...] | list[int],
    scales: list[float],
    regions: list[float] | None = None,
    is_crop: bool = False,
) -> list[Axis]:
    if len(scales) != len(inside) or any(scale <= 0 for scale in scales):
        raise EvaluationError(f"scales {scales} for {len(inside)} axes")
    regions = regions or [0.0] * len(inside) + [1.0] * len(inside)
    walks = []
    for i, (size, scale) in enumerate(zip(inside, scales, strict=True)):
        start, end = regions[i], regions[len(inside) + i]
        extent = np.float32(size) * np.float32(end - start if is_crop else 1)
        # Rounded in float32, as shape inference does it.
        walks.append(Axis(size, int(np.floor(extent * np.float32(scale))), scale, start, end))
    return walks


def _by_sizes(node: Node, inside: list[int], sizes: list[int], regions: list[float]) -> list[Axis]:
    if len(sizes) != len(inside):
        raise EvaluationError(f"sizes {sizes} for {len(inside)} axes")
    scales = [out / size if size else 1.0 for size, out in zip(inside, sizes, strict=True)]
    policy = str_attr(node, "keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        same = min(scales) if policy == "not_larger" else max(scales)
        scales = [same] * len(inside)
        sizes = [int(np.floor(same * size + 0.5)) for size in inside]
    return [
        Axis(size, out, scale, regions[i], regions[len(inside) + i])
        for i, (size, out, scale) in enumerate(zip(inside, sizes, scales, strict=True))
    ]


def _resample(
    node: Node, x: np.ndarray, axes: range | tuple[int, ...], walks: list[Axis]
) -> np.ndarray:
    """Each axis on its own; an unchanged axis is left alone."""
    outside: list[tuple[int, np.ndarray]] = []
    is_nearest = str_attr(node, "mode", "nearest") == "nearest"
    result = x if is_nearest else wide(x)
    for axis, walk in zip(axes, walks, strict=True):
        reserve((*result.shape[:axis], walk.out, *result.shape[axis + 1 :]), result.dtype)
        is_crop = _is_crop(node) and node.version >= 11
        if walk.size == walk.out and walk.scale == 1 and not is_crop:
            continue
        at = _coordinates(node, walk)
        if is_crop:
            outside.append((axis, (at < 0) | (at > walk.size - 1)))
        if is_nearest:
            result = np.take(result, _nearest(node, at, walk), axis)
        else:
            result = _weighted(node, result, axis, at, walk)
    if outside:
        result = _extrapolated(result, outside, float_attr(node, "extrapolation_value", 0.0))
    return narrow(result, x.dtype)


def _extrapolated(x: np.ndarray, outside: list[tuple[int, np.ndarray]], value: float) -> np.ndarray:
    for axis, is_outside in outside:
        mask = is_outside.reshape((-1,) + (1,) * (x.ndim - 1 - axis))
        x = np.where(mask, value, x)
    return x


def _coordinates(node: Node, walk: Axis) -> np.ndarray:
    """Where each output element lies in the input."""
    default = "half_pixel" if node.version >= 11 and node.op == "Resize" else "asymmetric"
    mode = str_attr(node, "coordinate_transformation_mode", default)
    at = np.arange(walk.out, dtype=np.float64)
    if mode == "asymmetric":
        return at / walk.scale
    if mode == "align_corners":
        return at * ((walk.size - 1) / (walk.out - 1) if walk.out > 1 else 0.0)
    if mode == "tf_crop_and_resize":
        start, end, last = walk.roi_start, walk.roi_end, walk.size - 1
        if walk.out == 1:
            return np.array([0.5 * (start + end) * last])
        return start * last + at * (end - start) * last / (walk.out - 1)
    if mode == "tf_half_pixel_for_nn":
        return (at + 0.5) / walk.scale
    half = (at + 0.5) / walk.scale - 0.5
    if mode == "half_pixel":
        return half
    if mode == "pytorch_half_pixel":
        return half if walk.out > 1 else at * 0
    if mode == "half_pixel_symmetric":
        return walk.size / 2 * (1 - walk.out / (walk.scale * walk.size)) + half
    raise EvaluationError(f"coordinate_transformation_mode {mode!r} is unknown")


def _nearest(node: Node, at: np.ndarray, walk: Axis) -> np.ndarray:
    if node.version < 11 or node.op == "Upsample":
        places = np.ceil(at) if walk.scale < 1 else np.floor(at)
    else:
        mode = str_attr(node, "nearest_mode", "round_prefer_floor")
        rounding: dict[str, Kernel] = {
            "round_prefer_floor": lambda v: np.ceil(v - 0.5),
            "round_prefer_ceil": lambda v: np.floor(v + 0.5),
            "floor": np.floor,
            "ceil": np.ceil,
        }
        if mode not in rounding:
            raise EvaluationError(f"nearest_mode {mode!r} is unknown")
        places = rounding[mode](at)
    return np.asarray(np.clip(places, 0, walk.size - 1).astype(np.int64))


def _weighted(node: Node, x: np.ndarray, axis: int, at: np.ndarray, walk: Axis) -> np.ndarray:
    """Sum of the taps around each coordinate; a tap past the edge reads the edge."""
    kernel, radius = _kernel(node)
    is_antialias = bool(int_attr(node, "antialias", 0))
    stretch = min(walk.scale, 1.0) if is_antialias else 1.0
    first = int(np.floor(-radius / stretch)) + 1
    taps = np.floor(at)[:, None] + np.arange(first, 2 - first)
    weights = kernel((taps - at[:, None]) * stretch)
    if int_attr(node, "exclude_outside", 0):
        weights = np.where((taps >= 0) & (taps < walk.size), weights, 0)
    if is_antialias or int_attr(node, "exclude_outside", 0):
        weights = weights / weights.sum(axis=1, keepdims=True)
    places = np.clip(taps, 0, walk.size - 1).astype(np.int64)
    spread = (-1,) + (1,) * (x.ndim - 1 - axis)
    terms = (
        np.take(x, places[:, tap], axis) * weights[:, tap].reshape(spread)
        for tap in range(taps.shape[1])
    )
    return np.asarray(sum(terms))


def _kernel(node: Node) -> tuple[Kernel, int]:
    mode = str_attr(node, "mode", "nearest")
    if mode in ("linear", "bilinear", "trilinear"):
        return lambda d: np.maximum(0, 1 - np.abs(d)), 1
    if mode not in ("cubic", "bicubic"):
        raise EvaluationError(f"mode {mode!r} is not nearest, linear or cubic")
    a = float_attr(node, "cubic_coeff_a", -0.75)
    return lambda d: cubic(d, a), 2


def cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _grid_sample(node: Node, x: np.ndarray, grid: np.ndarray) -> Outputs:
    """Sample x at normalised positions; the grid's last axis runs from x's last axis back."""
    is_aligned = bool(int_attr(node, "align_corners", 0))
    padding = str_attr(node, "padding_mode", "zeros")
    mode = str_attr(node, "mode", "linear").removeprefix("bi")
    rank = x.ndim - 2
    if grid.ndim != rank + 2 or grid.shape[-1] != rank:
        raise EvaluationError(f"grid {list(grid.shape)} for input {list(x.shape)}")
    reserve((*x.shape[:2], *grid.shape[1:-1]), np.float64)
    positions = []
    for i, size in enumerate(x.shape[2:]):
        place = wide(grid)[..., rank - 1 - i]
        at = (place + 1) / 2 * (size - 1) if is_aligned else ((place + 1) * size - 1) / 2
        # A cubic's taps are clamped one by one instead: its weights are of the position itself.
        is_border_cubic = mode == "cubic" and padding == "border"
        positions.append(at if is_border_cubic else _padded_position(at, size, padding, is_aligned))
    result = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    reach = {"nearest": (0, 1), "linear": (0, 2), "cubic": (-1, 3)}
    if mode not in reach:
        raise EvaluationError(f"mode {mode!r} is not nearest, linear or cubic")
    bases = [np.rint(at) if mode == "nearest" else np.floor(at) for at in positions]
    for tap in np.ndindex(*[reach[mode][1] - reach[mode][0]] * rank):
        places = [base + step + reach[mode][0] for base, step in zip(bases, tap, strict=True)]
        weight = np.ones(grid.shape[:-1])
        for place, at in zip(places, positions, strict=True):
            weight = weight * _tap_weight(mode, place - at)
        result += _pixels(wide(x), places, padding, is_aligned) * weight[:, None]
    return (narrow(result, x.dtype),)


def _tap_weight(mode: str, distance: np.ndarray) -> np.ndarray:
    if mode == "nearest":
        return np.ones_like(distance)
    return cubic(distance, -0.75) if mode == "cubic" else np.maximum(0, 1 - np.abs(distance))


def _padded_position(at: np.ndarray, size: int, padding: str, is_aligned: bool) -> np.ndarray:
    if padding == "border":
        return np.asarray(np.clip(at, 0, size - 1))
    return _reflected(at, size, is_aligned) if padding == "reflection" else at


def _reflected(at: np.ndarray, size: int, is_aligned: bool) -> np.ndarray:
    """Fold back at the edges: of the corner pixels' centres, or of the pixels themselves."""
    low, high = (0.0, size - 1.0) if is_aligned else (-0.5, size - 0.5)
    span = high - low
    if span <= 0:
        return np.zeros_like(at)
    folded = np.mod(at - low, 2 * span)
    return low + np.minimum(folded, 2 * span - folded)


def _pixels(x: np.ndarray, places: list[np.ndarray], padding: str, is_aligned: bool) -> np.ndarray:
    """x[n, :, places] as [N, C, ...]."""
    is_inside = np.ones(places[0].shape, np.bool_)
    spots = []
    for place, size in zip(places, x.shape[2:], strict=True):
        is_inside &= (place >= 0) & (place < size)
        if padding == "reflection":
            place = _reflected(place, size, is_aligned)
        finite = np.where(np.isfinite(place), place, 0)
        spots.append(np.clip(np.rint(finite), 0, size - 1).astype(np.int64))
    samples = np.stack([image[(slice(None), *(s[n] for s in spots))] for n, image in enumerate(x)])
    return samples if padding != "zeros" else np.where(is_inside[:, None], samples, 0)


def _affine_grid(node: Node, theta: np.ndarray, size: np.ndarray) -> Outputs:
    extents = int_list(size)[2:]
    reserve((theta.shape[0], *extents, len(extents) + 1), np.float64)
    steps = []
    for count in extents:
        if int_attr(node, "align_corners", 0):
            steps.append(np.linspace(-1, 1, count))
        else:
            steps.append((2 * np.arange(count) + 1) / count - 1)
    places = np.meshgrid(*steps, indexing="ij")[::-1]
    points = np.stack([*places, np.ones_like(places[0])], axis=-1)
    grid = np.einsum("...k,nrk->n...r", points, wide(theta))
    return (narrow(grid, theta.dtype),)


OPS: Operations = {
    ("", "Resize"): _resize,
    ("", "Upsample"): _upsample,
    ("", "GridSample"): _grid_sample,
    ("", "AffineGrid"): _affine_grid,
}
