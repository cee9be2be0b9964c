"""to_columns(): what a layer multiplies its weights with, as a matrix (im2col)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from colonnade.ir import Node
from colonnade.pruning.layers import Layer


def to_columns(layer: Layer, node: Node, x: np.ndarray) -> np.ndarray:
    """[groups, positions, cols] of one input of the layer; columns are (tap, channel)."""
    if node.op != "Conv":
        return x.reshape(1, -1, layer.cols)
    spatial = x.ndim - 2
    kernel = layer.shape[2:]
    strides = _ints(node, "strides", spatial)
    dilations = _ints(node, "dilations", spatial)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *_pads(node, x.shape[2:], extents, strides)])
    windows = sliding_window_view(padded, extents, axis=tuple(range(2, x.ndim)))
    steps = tuple(slice(None, None, s) for s in strides)
    taps = tuple(slice(None, None, d) for d in dilations)
    picked = windows[(slice(None), slice(None), *steps, *taps)]
    positions = int(np.prod(picked.shape[2 : 2 + spatial], dtype=np.int64))
    # [batch, group, channel, *positions, *taps] to [group, batch, *positions, *taps, channel]
    split = picked.reshape(len(x), layer.groups, layer.inputs, positions, layer.taps)
    return np.ascontiguousarray(split.transpose(1, 0, 3, 4, 2)).reshape(
        layer.groups, len(x) * positions, layer.cols
    )


def _pads(
    node: Node, sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Before and after, by axis."""
    how = node.attrs.get("auto_pad", "NOTSET")
    if how == "VALID":
        return [(0, 0)] * len(sizes)
    if how in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for size, extent, stride in zip(sizes, extents, strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            less, more = total // 2, total - total // 2
            found.append((less, more) if how == "SAME_UPPER" else (more, less))
        return found
    pads = cast(tuple[int, ...], node.attrs.get("pads", (0,) * (2 * len(sizes))))
    return list(zip(pads[: len(sizes)], pads[len(sizes) :], strict=True))


def _ints(node: Node, name: str, count: int) -> tuple[int, ...]:
    return cast(tuple[int, ...], node.attrs.get(name, (1,) * count))
