"""Pooling: windows in the column layout, whole samples to rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from colonnade.ir import DType, Node
from colonnade.planner.choice import Choice, In, Layout, Lowering, Out, Striped, View
from colonnade.planner.reach import Reach

CHANNELS = Layout(1)
_MAX, _MEAN = 0, 1


def lower_window(node: Node, view: View) -> Choice | str:
    """MaxPool without indices, AveragePool; float32, one or two spatial axes."""
    x, y = node.inputs[0], node.outputs[0]
    if view.dtype(x) is not DType.FLOAT32:
        return f"element type {view.dtype(x).value}"
    window = read_window(node, view)
    if isinstance(window, str):
        return window
    operands = (In(x, CHANNELS), Out(y, CHANNELS))
    return Choice(
        "pool_window", operands, (*window.params, False), window.what, flops=window.flops,
        striped=Striped((*window.params, True), window.reach),
    )  # fmt: skip


@dataclass(frozen=True)
class PoolWindow:
    """A pooling window as kernels take it: parameters but for `by_panels`, and its reach."""

    params: tuple[int, ...]
    reach: Reach
    what: str
    flops: int


def read_window(node: Node, view: View) -> PoolWindow | str:
    """Of MaxPool without indices or an average, over one or two spatial axes of input 0."""
    if len(node.outputs) > 1 and node.outputs[1]:
        return "pooling that returns indices"
    x_shape, y_shape = view.shape(node.inputs[0]), view.shape(node.outputs[0])
    spatial = len(x_shape) - 2
    if spatial not in (1, 2) or 0 in x_shape or 0 in y_shape:
        return f"{spatial} spatial axes or no elements"
    kernel = cast(tuple[int, ...], node.attrs["kernel_shape"])
    strides = cast(tuple[int, ...], node.attrs.get("strides", (1,) * spatial))
    dilations = cast(tuple[int, ...], node.attrs.get("dilations", (1,) * spatial))
    pads = _pads(node, x_shape[2:], y_shape[2:], kernel, strides, dilations)
    if any(pad < 0 for pad in pads):
        return "negative padding"
    one, zero = (1,) * (2 - spatial), (0,) * (2 - spatial)
    params = (
        _MAX if node.op == "MaxPool" else _MEAN, int(bool(node.attrs.get("count_include_pad", 0))),
        x_shape[0], x_shape[1], *one, *x_shape[2:], *one, *y_shape[2:], *one, *kernel,
        *one, *strides, *one, *dilations, *zero, *pads[:spatial], *zero, *pads[spatial:],
    )  # fmt: skip
    in_h, in_w, out_h, out_w, kernel_h, _, stride_h, _, dilation_h, _, pad_top = params[4:15]
    reach = Reach(
        view.panel, x_shape[0] * out_h * out_w, in_h, in_w, out_h, out_w, stride_h,
        (kernel_h - 1) * dilation_h + 1, pad_top,
    )  # fmt: skip
    what = "x".join(map(str, kernel)) + " window"
    return PoolWindow(params, reach, what, math.prod(y_shape) * math.prod(kernel))


def _pads(
    node: Node,
    in_size: tuple[int, ...],
    out_size: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, ...]:
    """Padding before each axis, then after; `auto_pad` resolved from the output's size."""
    auto = str(node.attrs.get("auto_pad", "NOTSET"))
    if auto == "NOTSET":
        return cast(tuple[int, ...], node.attrs.get("pads", (0,) * (2 * len(kernel))))
    if auto == "VALID":
        return (0,) * (2 * len(kernel))
    begin, end = [], []
    for axis, size in enumerate(in_size):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        total = max((out_size[axis] - 1) * strides[axis] + span - size, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return (*begin, *end)


_GLOBAL = {"GlobalMaxPool": 0, "GlobalAveragePool": 1}
_REDUCTIONS = {"ReduceMax": 0, "ReduceMean": 1, "ReduceSum": 2}


def lower_global(node: Node, view: View) -> Choice | str:
    """GlobalAveragePool, GlobalMaxPool."""
    x = node.inputs[0]
    shape = view.shape(x)
    if view.dtype(x) is not DType.FLOAT32 or len(shape) < 3 or 0 in shape:
        return "global pooling of other than float32 images"
    return _global(node, shape, _GLOBAL[node.op])


def lower_spatial_reduction(node: Node, view: View) -> Choice | str:
    """A reduction over all spatial axes of a value that is in the column layout."""
    x = node.inputs[0]
    shape = view.shape(x)
    if view.layout(x) != CHANNELS or view.dtype(x) is not DType.FLOAT32 or 0 in shape:
        return "not a reduction over the columns of each sample"
    axes = node.attrs.get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1]:
        array = view.constant(node.inputs[1])
        axes = None if array is None else tuple(int(axis) for axis in array.reshape(-1))
    if not isinstance(axes, tuple):
        return "axes are not constant"
    wanted = tuple(range(2, len(shape)))
    if tuple(sorted(int(a) % len(shape) for a in axes)) != wanted or not wanted:
        return "not a reduction over the columns of each sample"
    return _global(node, shape, _REDUCTIONS[node.op])


def _global(node: Node, shape: tuple[int, ...], kind: int) -> Choice:
    params = (kind, shape[0], shape[1], math.prod(shape[2:]))
    operands = (In(node.inputs[0], CHANNELS), Out(node.outputs[0]))
    return Choice("pool_global", operands, params, "over each sample", flops=math.prod(shape))


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("", "MaxPool"): lower_window,
    ("", "AveragePool"): lower_window,
    ("", "GlobalMaxPool"): lower_global,
    ("", "GlobalAveragePool"): lower_global,
    ("", "ReduceMean"): lower_spatial_reduction,
    ("", "ReduceMax"): lower_spatial_reduction,
    ("", "ReduceSum"): lower_spatial_reduction,
}
