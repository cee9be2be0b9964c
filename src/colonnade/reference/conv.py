"""Convolutions over any number of spatial axes, accumulated in float64."""

from __future__ import annotations

from types import EllipsisType

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import int_attr, ints_attr, str_attr
from colonnade.reference.budget import reserve, reserve_work
from colonnade.reference.elementwise import silu
from colonnade.reference.failure import EvaluationError, UnsupportedNodeError
from colonnade.reference.operation import Operations, Outputs
from colonnade.reference.precision import narrow, wide
from colonnade.reference.window import Slices, window_of


def convolve(
    node: Node, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None
) -> np.ndarray:
    """Conv in the widest type of the operands' kind."""
    group = int_attr(node, "group", 1)
    _check(x, w, group, w.shape[1] * group if w.ndim > 1 else 0, w.shape[0])
    window = window_of(node, x.shape[2:], ints_attr(node, "kernel_shape", w.shape[2:]))
    if window.kernel != w.shape[2:]:
        raise EvaluationError(f"kernel_shape {list(window.kernel)}, weights {list(w.shape)}")
    shape = reserve((x.shape[0], w.shape[0], *window.outputs), np.float64)
    reserve_work(int(np.prod(shape)) * int(np.prod(w.shape[1:])))
    padded = window.padded(wide(x), 0)
    weights = wide(w).reshape(group, w.shape[0] // group, *w.shape[1:])
    result = np.zeros(
        (x.shape[0], group, w.shape[0] // group, int(np.prod(window.outputs))), padded.dtype
    )
    for tap, seen in window.taps(padded):
        columns = seen.reshape(x.shape[0], group, w.shape[1], -1)
        result += np.matmul(_at(weights, tap), columns)
    result = result.reshape(shape)
    return result if bias is None else result + _per_channel(wide(bias), result.ndim)


def convolve_transposed(
    node: Node, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None
) -> np.ndarray:
    """ConvTranspose: each input element adds a scaled kernel to the output."""
    group = int_attr(node, "group", 1)
    _check(x, w, group, w.shape[0], w.shape[0])
    kernel, rank = w.shape[2:], x.ndim - 2
    strides = ints_attr(node, "strides", (1,) * rank)
    dilations = ints_attr(node, "dilations", (1,) * rank)
    begin, spatial = _transposed_extents(node, x.shape[2:], kernel, strides, dilations)
    channels = w.shape[1] * group
    shape = reserve((x.shape[0], channels, *spatial), np.float64)
    reserve_work(x.size * int(np.prod(w.shape[1:])))
    full = [
        max(step * (size - 1) + (k - 1) * d + 1, b + out)
        for step, size, k, d, b, out in zip(
            strides, x.shape[2:], kernel, dilations, begin, spatial, strict=True
        )
    ]
    result = np.zeros(reserve((x.shape[0], channels, *full), np.float64), wide(x).dtype)
    columns = wide(x).reshape(x.shape[0], group, x.shape[1] // group, -1)
    weights = wide(w).reshape(group, w.shape[0] // group, *w.shape[1:])
    for tap in np.ndindex(*kernel):
        product = np.matmul(_at(weights, tap).swapaxes(1, 2), columns)
        walks = zip(tap, dilations, strides, x.shape[2:], strict=True)
        at: Slices = (
            ...,
            *(slice(t * d, t * d + step * (n - 1) + 1, step) for t, d, step, n in walks),
        )
        result[at] += product.reshape(x.shape[0], channels, *x.shape[2:])
    crop: Slices = (..., *(slice(b, b + out) for b, out in zip(begin, spatial, strict=True)))
    result = result[crop].reshape(shape)
    return result if bias is None else result + _per_channel(wide(bias), result.ndim)


def _transposed_extents(
    node: Node,
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Elements cropped in front, and output sizes."""
    rank = len(spatial)
    extra = ints_attr(node, "output_padding", (0,) * rank)
    full = [
        step * (size - 1) + more + (k - 1) * d + 1
        for step, size, more, k, d in zip(strides, spatial, extra, kernel, dilations, strict=True)
    ]
    auto_pad = str_attr(node, "auto_pad", "NOTSET")
    wanted = ints_attr(node, "output_shape", ())[-rank:] if rank else ()
    if not wanted and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = tuple(size * step for size, step in zip(spatial, strides, strict=True))
    if wanted:
        totals = [max(size - out, 0) for size, out in zip(full, wanted, strict=True)]
        is_upper = auto_pad == "SAME_UPPER"
        return tuple(t // 2 if is_upper else t - t // 2 for t in totals), wanted
    pads = ints_attr(node, "pads", (0,) * (2 * rank)) if auto_pad != "VALID" else (0,) * (2 * rank)
    if len(pads) != 2 * rank or any(pad < 0 for pad in pads):
        raise EvaluationError(f"pads={list(pads)} on {rank} spatial axes")
    sizes = tuple(full[i] - pads[i] - pads[rank + i] for i in range(rank))
    return pads[:rank], sizes


def _check(x: np.ndarray, w: np.ndarray, group: int, channels: int, divided: int) -> None:
    if x.ndim < 3 or w.ndim != x.ndim:
        raise EvaluationError(f"input of shape {list(x.shape)} with weights {list(w.shape)}")
    if group < 1 or divided % group or x.shape[1] != channels:
        raise EvaluationError(
            f"group={group} with input {list(x.shape)} and weights {list(w.shape)}"
        )


def _at(weights: np.ndarray, tap: tuple[int, ...]) -> np.ndarray:
    """The weights [groups, outputs, inputs] of one kernel position."""
    index: tuple[EllipsisType | int, ...] = (..., *tap)
    return np.asarray(weights[index])


def _per_channel(values: np.ndarray, rank: int) -> np.ndarray:
    return values.reshape(-1, *([1] * (rank - 2)))


def _conv(node: Node, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> Outputs:
    return (narrow(convolve(node, x, w, bias), x.dtype),)


def _conv_transpose(
    node: Node, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None
) -> Outputs:
    return (narrow(convolve_transposed(node, x, w, bias), x.dtype),)


def _causal_conv_with_state(
    node: Node,
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    past: np.ndarray | None = None,
) -> Outputs:
    """Depthwise over time; the state is what the kernel still sees of the past."""
    batch, channels, length = x.shape
    reach = w.shape[2] - 1
    before = np.zeros((batch, channels, reach), x.dtype) if past is None else past
    sequence = np.concatenate([before, x], axis=2)
    result = np.zeros(x.shape, np.float64)
    for tap in range(reach + 1):
        result += wide(w[:, 0, tap])[:, None] * sequence[:, :, tap : tap + length]
    if bias is not None:
        result += wide(bias)[:, None]
    if str_attr(node, "activation", "none") in ("silu", "swish"):
        result = silu(result)
    state = sequence[:, :, sequence.shape[2] - reach :]
    return narrow(result, x.dtype), state


def _col2im(
    node: Node, columns: np.ndarray, image_shape: np.ndarray, block_shape: np.ndarray
) -> Outputs:
    """Add every column's block at its place in the image."""
    image = tuple(int(size) for size in image_shape)
    block = tuple(int(size) for size in block_shape)
    window = window_of(node, image, block)
    batch, channels = columns.shape[0], columns.shape[1] // int(np.prod(block))
    blocks = wide(columns).reshape(batch, channels, *block, *window.outputs)
    reserve((batch, channels, *image), columns.dtype)
    padded = window.padded(np.zeros((batch, channels, *image), blocks.dtype), 0)
    for tap, place in window.taps(padded):
        index: tuple[slice | int, ...] = (slice(None), slice(None), *tap)
        place += blocks[index]
    crop: Slices = (..., *(slice(b, b + size) for b, size in zip(window.begin, image, strict=True)))
    return (narrow(padded[crop], columns.dtype),)


def _deform_conv(
    node: Node,
    x: np.ndarray,
    w: np.ndarray,
    offset: np.ndarray,
    bias: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> Outputs:
    """Convolution whose taps are moved by learned offsets, sampled bilinearly; two axes."""
    if x.ndim != 4:
        raise UnsupportedNodeError(f"DeformConv on {x.ndim - 2} spatial axes")
    group, parts = int_attr(node, "group", 1), int_attr(node, "offset_group", 1)
    _check(x, w, group, w.shape[1] * group, w.shape[0])
    window = window_of(node, x.shape[2:], ints_attr(node, "kernel_shape", w.shape[2:]))
    batch, channels = x.shape[:2]
    taps = window.kernel
    moves = wide(offset).reshape(batch, parts, *taps, 2, *window.outputs)
    shape = reserve((batch, w.shape[0], *window.outputs), np.float64)
    weights = wide(w).reshape(group, w.shape[0] // group, *w.shape[1:])
    result = np.zeros((batch, group, w.shape[0] // group, int(np.prod(window.outputs))))
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in window.outputs), indexing="ij"))
    for tap in np.ndindex(*taps):
        base = [
            grid[i] * window.strides[i] - window.begin[i] + tap[i] * window.dilations[i]
            for i in range(2)
        ]
        seen = np.empty((batch, channels, *window.outputs))
        for n, part in np.ndindex(batch, parts):
            at = moves[(n, part, *tap)]
            own = slice(part * channels // parts, (part + 1) * channels // parts)
            seen[n, own] = _sample(wide(x[n, own]), base[0] + at[0], base[1] + at[1])
            if mask is not None:
                factor = mask.reshape(batch, parts, *taps, *window.outputs)[(n, part, *tap)]
                seen[n, own] *= factor
        columns = seen.reshape(batch, group, w.shape[1], -1)
        result += np.matmul(_at(weights, tap), columns)
    total = result.reshape(shape)
    if bias is not None:
        total = total + _per_channel(wide(bias), 4)
    return (narrow(total, x.dtype),)


def _sample(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear samples of [C, H, W]; zero outside."""
    height, width = image.shape[1:]
    top, left = np.floor(y), np.floor(x)
    result = np.zeros((image.shape[0], *y.shape))
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for col, col_weight in ((left, left + 1 - x), (left + 1, x - left)):
            is_inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
            r, c = np.where(is_inside, row, 0).astype(int), np.where(is_inside, col, 0).astype(int)
            result += np.where(is_inside, image[:, r, c] * (row_weight * col_weight), 0)
    return result


OPS: Operations = {
    ("", "Conv"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "CausalConvWithState"): _causal_conv_with_state,
    ("", "Col2Im"): _col2im,
    ("", "DeformConv"): _deform_conv,
}
