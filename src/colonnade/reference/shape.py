"""Operations that move elements: reshape, slice, join, pad."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import (
    axes_of,
    axis_of,
    float_attr,
    has_attr,
    int_attr,
    int_list,
    ints_attr,
    scalar_int,
    str_attr,
)
from colonnade.reference.budget import reserve
from colonnade.reference.failure import EvaluationError
from colonnade.reference.operation import Operations, Outputs


def _reshape(node: Node, x: np.ndarray, shape: np.ndarray | None = None) -> Outputs:
    wanted = list(ints_attr(node, "shape")) if shape is None else int_list(shape)
    if not int_attr(node, "allowzero", 0):
        if any(dim == 0 and i >= x.ndim for i, dim in enumerate(wanted)):
            raise EvaluationError(f"shape {wanted} copies a dimension that {list(x.shape)} lacks")
        wanted = [x.shape[i] if dim == 0 else dim for i, dim in enumerate(wanted)]
    if any(dim < -1 for dim in wanted) or wanted.count(-1) > 1:
        raise EvaluationError(f"shape {wanted} is not a shape")
    return (x.reshape(wanted),)


def _flatten(node: Node, x: np.ndarray) -> Outputs:
    axis = int_attr(node, "axis", 1)
    if not -x.ndim <= axis <= x.ndim:
        raise EvaluationError(f"axis {axis} is outside rank {x.ndim}")
    axis = axis + x.ndim if axis < 0 else axis
    return (x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:])),)


def _transpose(node: Node, x: np.ndarray) -> Outputs:
    return (np.transpose(x, ints_attr(node, "perm", range(x.ndim - 1, -1, -1))),)


def _squeeze(node: Node, x: np.ndarray, axes: np.ndarray | None = None) -> Outputs:
    if axes is None and not has_attr(node, "axes"):
        return (np.squeeze(x),)
    return (np.squeeze(x, axes_of(ints_attr(node, "axes") if axes is None else axes, x.ndim)),)


def _unsqueeze(node: Node, x: np.ndarray, axes: np.ndarray | None = None) -> Outputs:
    chosen = ints_attr(node, "axes") if axes is None else int_list(axes)
    return (np.expand_dims(x, axes_of(chosen, x.ndim + len(chosen))),)


def _shape(node: Node, x: np.ndarray) -> Outputs:
    dims = x.shape[int_attr(node, "start", 0) : int_attr(node, "end", x.ndim)]
    return (np.array(dims, np.int64),)


def _size(node: Node, x: np.ndarray) -> Outputs:
    del node
    return (np.array(x.size, np.int64),)


def _concat(node: Node, *inputs: np.ndarray) -> Outputs:
    axis = axis_of(int_attr(node, "axis", 1 if node.version < 4 else None), inputs[0].ndim)
    if any(x.ndim != inputs[0].ndim for x in inputs):
        raise EvaluationError(f"ranks {[x.ndim for x in inputs]} differ")
    total = sum(x.shape[axis] for x in inputs)
    reserve((*inputs[0].shape[:axis], total, *inputs[0].shape[axis + 1 :]), inputs[0].dtype)
    return (np.concatenate(inputs, axis),)


def _split(node: Node, x: np.ndarray, split: np.ndarray | None = None) -> Outputs:
    axis = axis_of(int_attr(node, "axis", 0), x.ndim)
    size = x.shape[axis]
    if split is not None:
        sizes = int_list(split)
    elif has_attr(node, "split"):
        sizes = list(ints_attr(node, "split"))
    else:
        count = int_attr(node, "num_outputs", len(node.outputs))
        if count != len(node.outputs):
            raise EvaluationError(f"num_outputs={count}, {len(node.outputs)} are named")
        part = -(-size // count)
        sizes = [max(0, min(part, size - i * part)) for i in range(count)]
    if sum(sizes) != size or any(part < 0 for part in sizes):
        raise EvaluationError(f"parts {sizes} of an axis of {size}")
    edges = np.cumsum(sizes)[:-1]
    return tuple(np.split(x, edges, axis))


def _slice(
    node: Node,
    x: np.ndarray,
    starts: np.ndarray | None = None,
    ends: np.ndarray | None = None,
    axes: np.ndarray | None = None,
    steps: np.ndarray | None = None,
) -> Outputs:
    if starts is None or ends is None:
        begin, stop = list(ints_attr(node, "starts")), list(ints_attr(node, "ends"))
        along: Sequence[int] = ints_attr(node, "axes", range(len(begin)))
    else:
        begin, stop = int_list(starts), int_list(ends)
        along = range(len(begin)) if axes is None else int_list(axes)
    step = [1] * len(begin) if steps is None else int_list(steps)
    index = [slice(None)] * x.ndim
    for axis, a, b, s in zip(axes_of(along, x.ndim), begin, stop, step, strict=True):
        index[axis] = _clamped(a, b, s, x.shape[axis])
    return (x[tuple(index)],)


def _clamped(start: int, end: int, step: int, size: int) -> slice:
    """ONNX clamps both ends; a numpy slice that runs backward to the front ends with None."""
    if step == 0:
        raise EvaluationError("step 0")
    start, end = (value + size if value < 0 else value for value in (start, end))
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    return slice(start, None if end < 0 else end, step)


def _pad(
    node: Node,
    x: np.ndarray,
    pads: np.ndarray | None = None,
    value: np.ndarray | None = None,
    axes: np.ndarray | None = None,
) -> Outputs:
    if pads is None:
        widths = ints_attr(node, "pads" if node.version >= 2 else "paddings")
        fill = np.array(float_attr(node, "value", 0.0)).astype(x.dtype)
    else:
        widths = tuple(int_list(pads))
        fill = np.zeros((), x.dtype) if value is None else value.reshape(())
    along = tuple(range(x.ndim)) if axes is None else axes_of(axes, x.ndim)
    if len(widths) != 2 * len(along):
        raise EvaluationError(f"{len(widths)} pads for {len(along)} axes")
    before, after = [0] * x.ndim, [0] * x.ndim
    for i, axis in enumerate(along):
        before[axis], after[axis] = widths[i], widths[len(along) + i]
    return (pad(x, before, after, str_attr(node, "mode", "constant"), fill),)


def pad(
    x: np.ndarray, before: Sequence[int], after: Sequence[int], mode: str, fill: np.ndarray
) -> np.ndarray:
    """Pad each axis; a negative width crops."""
    crop = tuple(
        slice(max(0, -low), size - max(0, -high))
        for size, low, high in zip(x.shape, before, after, strict=True)
    )
    x = x[crop]
    widths = [(max(0, low), max(0, high)) for low, high in zip(before, after, strict=True)]
    reserve([size + low + high for size, (low, high) in zip(x.shape, widths, strict=True)], x.dtype)
    if mode == "constant":
        return np.pad(x, widths, constant_values=fill.item())
    if mode == "reflect":
        return np.pad(x, widths, mode="reflect")
    if mode == "edge":
        return np.pad(x, widths, mode="edge")
    if mode == "wrap":
        return np.pad(x, widths, mode="wrap")
    raise EvaluationError(f"mode {mode!r} is not constant, reflect, edge or wrap")


def _expand(node: Node, x: np.ndarray, shape: np.ndarray) -> Outputs:
    del node
    wanted = np.broadcast_shapes(x.shape, tuple(int_list(shape)))
    return (np.broadcast_to(x, reserve(wanted, x.dtype)),)


def _tile(node: Node, x: np.ndarray, repeats: np.ndarray) -> Outputs:
    del node
    counts = int_list(repeats)
    if len(counts) != x.ndim or any(count < 0 for count in counts):
        raise EvaluationError(f"repeats {counts} for shape {list(x.shape)}")
    reserve([size * count for size, count in zip(x.shape, counts, strict=True)], x.dtype)
    return (np.tile(x, counts),)


def _depth_to_space(node: Node, x: np.ndarray) -> Outputs:
    block, (batch, depth, height, width) = int_attr(node, "blocksize"), x.shape
    inner = depth // (block * block)
    if str_attr(node, "mode", "DCR") == "DCR":
        parts = x.reshape(batch, block, block, inner, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(batch, inner, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    return (parts.reshape(batch, inner, height * block, width * block),)


def _space_to_depth(node: Node, x: np.ndarray) -> Outputs:
    block, (batch, depth, height, width) = int_attr(node, "blocksize"), x.shape
    rows, columns = height // block, width // block
    parts = x.reshape(batch, depth, rows, block, columns, block)
    if str_attr(node, "mode", "DCR") == "DCR":
        parts = parts.transpose(0, 3, 5, 1, 2, 4)
    else:
        parts = parts.transpose(0, 1, 3, 5, 2, 4)
    return (parts.reshape(batch, depth * block * block, rows, columns),)


def _center_crop_pad(node: Node, x: np.ndarray, shape: np.ndarray) -> Outputs:
    axes = axes_of(ints_attr(node, "axes", range(x.ndim)), x.ndim)
    before, after = [0] * x.ndim, [0] * x.ndim
    for axis, wanted in zip(axes, int_list(shape), strict=True):
        missing = wanted - x.shape[axis]
        # Half rounds down in front, of a crop as of a pad.
        before[axis] = missing // 2 if missing >= 0 else -(-missing // 2)
        after[axis] = missing - before[axis]
    return (pad(x, before, after, "constant", np.zeros((), x.dtype)),)


def _trilu(node: Node, x: np.ndarray, k: np.ndarray | None = None) -> Outputs:
    diagonal = 0 if k is None else scalar_int(k)
    rows, columns = np.arange(x.shape[-2])[:, None], np.arange(x.shape[-1])[None, :]
    is_upper = bool(int_attr(node, "upper", 1))
    keep = columns - rows >= diagonal if is_upper else columns - rows <= diagonal
    return (np.where(keep, x, np.zeros((), x.dtype)),)


def _reverse_sequence(node: Node, x: np.ndarray, lengths: np.ndarray) -> Outputs:
    batch_axis = axis_of(int_attr(node, "batch_axis", 1), x.ndim)
    time_axis = axis_of(int_attr(node, "time_axis", 0), x.ndim)
    result = np.moveaxis(x, (batch_axis, time_axis), (0, 1)).copy()
    for row, length in zip(result, int_list(lengths), strict=True):
        if not 0 <= length <= row.shape[0]:
            raise EvaluationError(f"length {length} of a sequence of {row.shape[0]}")
        row[:length] = row[:length][::-1].copy()
    return (np.moveaxis(result, (0, 1), (batch_axis, time_axis)),)


def _dropout(
    node: Node,
    x: np.ndarray,
    ratio: np.ndarray | None = None,
    training: np.ndarray | None = None,
) -> Outputs:
    """Inference: the input, and a mask of ones (of nothing, before opset 12)."""
    if training is not None and training.any() and (ratio is None or ratio.item() > 0):
        raise NotImplementedError("Dropout that trains is random")
    mask_type = np.bool_ if node.version >= 10 else x.dtype
    return x, np.full(x.shape, node.version >= 12, mask_type)


OPS: Operations = {
    ("", "Reshape"): _reshape,
    ("", "Flatten"): _flatten,
    ("", "Transpose"): _transpose,
    ("", "Squeeze"): _squeeze,
    ("", "Unsqueeze"): _unsqueeze,
    ("", "Shape"): _shape,
    ("", "Size"): _size,
    ("", "Concat"): _concat,
    ("", "Split"): _split,
    ("", "Slice"): _slice,
    ("", "Pad"): _pad,
    ("", "Expand"): _expand,
    ("", "Tile"): _tile,
    ("", "DepthToSpace"): _depth_to_space,
    ("", "SpaceToDepth"): _space_to_depth,
    ("", "CenterCropPad"): _center_crop_pad,
    ("", "Trilu"): _trilu,
    ("", "ReverseSequence"): _reverse_sequence,
    ("", "Dropout"): _dropout,
}
