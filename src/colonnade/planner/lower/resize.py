"""Resize and Upsample: index and weight tables are made here, kernels only apply them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.ir import DType, Node
from colonnade.planner.choice import Absent, Alias, Choice, Const, In, Operand, Out, View
from colonnade.planner.lower.attributes import (
    constant_integers,
    constant_reals,
    integer,
    integers,
    real,
    reals,
    text,
)
from colonnade.planner.lower.moves import NO_ELEMENTS, alias_reshaped, gather_grid
from colonnade.planner.plan import Param
from colonnade.planner.resample_table import (
    ResizedAxis,
    Taps,
    cubic_taps,
    linear_taps,
    nearest_table,
)
from colonnade.planner.strides import MAX_RANK

Axes = list[ResizedAxis]


@dataclass(frozen=True, slots=True)
class _Mode:
    """The attributes that say how positions are read."""

    mode: str
    transform: str
    rounding: str
    a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    outside_value: float = 0.0

    @staticmethod
    def of_resize(node: Node) -> _Mode:
        if node.version < 11:
            return _Mode.of_upsample(node)
        return _Mode(
            text(node, "mode", "nearest"),
            text(node, "coordinate_transformation_mode", "half_pixel"),
            text(node, "nearest_mode", "round_prefer_floor"),
            real(node, "cubic_coeff_a", -0.75),
            bool(integer(node, "exclude_outside", 0)),
            bool(integer(node, "antialias", 0)),
            real(node, "extrapolation_value", 0.0),
        )

    @staticmethod
    def of_upsample(node: Node) -> _Mode:
        mode = text(node, "mode", "nearest")
        return _Mode("linear" if mode == "bilinear" else mode, "asymmetric", "simple")

    def taps(self, axis: ResizedAxis) -> Taps | str:
        if self.mode == "linear":
            return linear_taps(axis, self.transform, antialias=self.antialias)
        if self.mode == "cubic":
            return cubic_taps(
                axis, self.transform, a=self.a, antialias=self.antialias,
                exclude_outside=self.exclude_outside,
            )  # fmt: skip
        return f"mode {self.mode!r}"


def lower_resize(node: Node, view: View) -> Choice | Alias | str:
    """Scales or sizes must be constant, but sizes that follow from the output shape need not."""
    axes = _resize_axes(node, view)
    if isinstance(axes, str):
        return axes
    return _lower_resample(node, view, axes, _Mode.of_resize(node))


def lower_upsample(node: Node, view: View) -> Choice | Alias | str:
    """The ancestor of Resize, until opset 9."""
    shape, to = view.shape(node.inputs[0]), view.shape(node.outputs[0])
    scales = constant_reals(node, 1, view) if node.version >= 9 else reals(node, "scales")
    if isinstance(scales, str):
        return scales
    if scales is None:
        return "Upsample without scales"
    axes = [ResizedAxis(*sizes) for sizes in zip(shape, to, scales, strict=True)]
    return _lower_resample(node, view, axes, _Mode.of_upsample(node))


_SAMPLE_MODES = {
    "nearest": 0, "linear": 1, "bilinear": 1, "cubic": 2, "bicubic": 2,
}  # fmt: skip
_SAMPLE_PADDING = {"zeros": 0, "border": 1, "reflection": 2}
_MAX_SAMPLE_AXES, _MAX_CUBIC_AXES = 3, 2


def lower_grid_sample(node: Node, view: View) -> Choice | str:
    """Positions are read at run time; up to three spatial axes, two in cubic mode."""
    image, grid, output = node.inputs[0], node.inputs[1], node.outputs[0]
    if view.dtype(image) is not DType.FLOAT32 or view.dtype(grid) is not DType.FLOAT32:
        return f"element type {view.dtype(image).value}"
    mode, padding = text(node, "mode", "linear"), text(node, "padding_mode", "zeros")
    if mode not in _SAMPLE_MODES or padding not in _SAMPLE_PADDING:
        return f"mode {mode!r}, padding {padding!r}"
    batch, channels, *dims = view.shape(image)
    points = math.prod(view.shape(grid)[1:-1])
    is_cubic = _SAMPLE_MODES[mode] == _SAMPLE_MODES["cubic"]
    if len(dims) > (_MAX_CUBIC_AXES if is_cubic else _MAX_SAMPLE_AXES):
        return f"{mode} mode over {len(dims)} axes"
    if math.prod((batch, channels, points, *dims)) == 0:
        return NO_ELEMENTS
    params = (
        batch, channels, tuple(dims), points, _SAMPLE_MODES[mode], _SAMPLE_PADDING[padding],
        integer(node, "align_corners", 0),
    )  # fmt: skip
    operands = (In(image), In(grid), Out(output))
    return Choice("grid_sample", operands, params, f"{mode}, {padding} outside")


def _resize_axes(node: Node, view: View) -> Axes | str:
    """Sizes, scale and crop of every axis."""
    shape, to = view.shape(node.inputs[0]), view.shape(node.outputs[0])
    rank = len(shape)
    axes = tuple(a % rank for a in integers(node, "axes") or range(rank))
    scales = _scales(node, view, axes)
    if isinstance(scales, str):
        return scales
    rois = _rois(node, view, axes)
    if isinstance(rois, str):
        return rois
    return [ResizedAxis(*row) for row in zip(shape, to, scales, rois, strict=True)]


def _scales(node: Node, view: View, axes: Sequence[int]) -> list[float] | str:
    shape, to = view.shape(node.inputs[0]), view.shape(node.outputs[0])
    given = constant_reals(node, 1 if node.version < 11 else 2, view)
    if isinstance(given, str):
        return given
    if given:
        scales = [1.0] * len(shape)
        for axis, scale in zip(axes, given, strict=True):
            scales[axis] = scale
        return scales
    ratios = [new / max(dim, 1) for dim, new in zip(shape, to, strict=True)]
    policy = text(node, "keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return ratios
    sizes = constant_integers(node, 3, view)
    if not isinstance(sizes, tuple):
        return sizes or "Resize without scales and sizes"
    wanted = [size / max(shape[axis], 1) for axis, size in zip(axes, sizes, strict=True)]
    scale = min(wanted) if policy == "not_larger" else max(wanted)
    return [scale if axis in axes else 1.0 for axis in range(len(shape))]


def _rois(node: Node, view: View, axes: Sequence[int]) -> list[tuple[float, float]] | str:
    rois = [(0.0, 1.0)] * len(view.shape(node.inputs[0]))
    if text(node, "coordinate_transformation_mode", "") != "tf_crop_and_resize":
        return rois
    given = constant_reals(node, 1, view)
    if not isinstance(given, tuple):
        return given or "tf_crop_and_resize without roi"
    for i, axis in enumerate(axes):
        rois[axis] = (given[i], given[i + len(axes)])
    return rois


def _lower_resample(node: Node, view: View, axes: Axes, mode: _Mode) -> Choice | Alias | str:
    value, output = node.inputs[0], node.outputs[0]
    if any(axis.in_dim == 0 or axis.out_dim == 0 for axis in axes):
        return NO_ELEMENTS
    if all(axis.is_identity(mode.transform) for axis in axes):
        return alias_reshaped(view, value, output)
    if mode.transform == "align_corners" and any(_has_loose_corner(axis) for axis in axes):
        return "align_corners with a scale that does not make a whole size"
    if mode.mode == "nearest":
        return _lower_nearest(view, value, output, axes, mode)
    if view.dtype(value) is not DType.FLOAT32:
        return f"{mode.mode} mode on element type {view.dtype(value).value}"
    return _lower_taps(view, value, output, axes, mode)


def _has_loose_corner(axis: ResizedAxis) -> bool:
    """ONNX places the last corner at scale * size, ONNX Runtime at the rounded size."""
    return abs(axis.in_dim * axis.scale - axis.out_dim) > 1e-4 * axis.out_dim


def _lower_nearest(
    view: View, value: str, output: str, axes: Axes, mode: _Mode
) -> Choice | Alias | str:
    tables: list[np.ndarray] = []
    for axis in axes:
        if axis.is_identity(mode.transform):
            tables.append(np.arange(axis.in_dim))
            continue
        table = nearest_table(axis, mode.transform, mode.rounding)
        if isinstance(table, str):
            return table
        tables.append(table)
    dtype, outside = view.dtype(value).numpy, mode.outside_value
    fill: Operand = Const(
        ("pad value", outside, dtype.str), lambda: np.array([outside]).astype(dtype)
    )
    return gather_grid(view, value, output, tables, fill if outside else Absent(), "nearest resize")


def _lower_taps(view: View, value: str, output: str, axes: Axes, mode: _Mode) -> Choice | str:
    """Leading and trailing axes that stay become `outer` and `inner`."""
    resized = [i for i, axis in enumerate(axes) if not axis.is_identity(mode.transform)]
    first, last = resized[0], resized[-1]
    if last - first >= MAX_RANK:
        return f"more than {MAX_RANK} axes from the first that is resized to the last"
    shape = view.shape(value)
    params: list[Param] = [
        math.prod(shape[:first]), math.prod(shape[last + 1 :]), mode.outside_value,
        last - first + 1,
    ]  # fmt: skip
    for i in range(first, last + 1):
        taps = mode.taps(axes[i]) if i in resized else _identity_taps(axes[i].in_dim)
        if isinstance(taps, str):
            return taps
        indices = tuple(int(index) for index in taps.indices.ravel())
        weights = tuple(float(weight) for weight in taps.weights.ravel())
        params += [axes[i].in_dim, axes[i].out_dim, taps.indices.shape[1], indices, weights]
    return Choice(
        "resample", (In(value), Out(output)), tuple(params), f"{mode.mode}, {mode.transform}"
    )


def _identity_taps(dim: int) -> Taps:
    return Taps(np.arange(dim)[:, None], np.ones((dim, 1)))
