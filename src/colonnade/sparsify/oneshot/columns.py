"""The matrix that a layer's weights are multiplied with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from colonnade.sparsify.layers import Layer

_NONE: Mapping[str, Any] = {}


def to_columns(layer: Layer, x: Tensor, arguments: Mapping[str, Any] = _NONE) -> Tensor:
    """[groups, positions, cols]; the columns are those of `Layer.matrix`.

    `arguments` are those of the convolution. A transposed one must have one group.
    """
    x = x.detach().float()
    kernel = tuple(layer.weight.shape[2:])
    if not kernel:
        return x.reshape(1, -1, x.shape[-1])
    axes = len(kernel)
    stride, gaps = (_each(arguments.get(name, 1), axes) for name in ("stride", "dilation"))
    x = x if x.ndim == axes + 2 else x.unsqueeze(0)
    is_transposed = layer.rows_axis == 1
    if is_transposed:
        # The same as a convolution with the taps in reverse, over inputs with zeros between.
        x = _spread(x, stride)
        pads = _pads_of_transposed(arguments, kernel, gaps)
        stride = (1,) * axes
    else:
        pads = _pads(arguments.get("padding", 0), kernel, gaps)
    windows = F.pad(x, [side for pair in reversed(pads) for side in pair])
    for axis, (size, step, gap) in enumerate(zip(kernel, stride, gaps, strict=True)):
        windows = windows.unfold(2 + axis, (size - 1) * gap + 1, step)[..., ::gap]
    if is_transposed:
        windows = windows.flip(tuple(range(-axes, 0)))
    split = windows.unflatten(1, (int(arguments.get("groups", 1)), -1))
    # To groups, batch, positions, taps and channels.
    ordered = split.permute(1, 0, *range(3, 3 + 2 * axes), 2)
    return ordered.reshape(ordered.shape[0], -1, int(torch.Size(kernel).numel()) * split.shape[2])


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """One for each axis, from one for all or from several."""
    items = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    return items * axes if len(items) == 1 else items


def _pads(padding: Any, kernel: tuple[int, ...], gaps: tuple[int, ...]) -> list[tuple[int, int]]:
    """Before and behind, by axis."""
    if padding == "same":
        whole = [gap * (size - 1) for size, gap in zip(kernel, gaps, strict=True)]
        return [(each // 2, each - each // 2) for each in whole]
    return [(side, side) for side in _each(0 if padding == "valid" else padding, len(kernel))]


def _pads_of_transposed(
    arguments: Mapping[str, Any], kernel: tuple[int, ...], gaps: tuple[int, ...]
) -> list[tuple[int, int]]:
    cut, more = (_each(arguments.get(k, 0), len(kernel)) for k in ("padding", "output_padding"))
    reach = [gap * (size - 1) for size, gap in zip(kernel, gaps, strict=True)]
    return [(r - c, r - c + m) for r, c, m in zip(reach, cut, more, strict=True)]


def _spread(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Zeros between neighbours."""
    sizes = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], stride, strict=True)]
    made = x.new_zeros((*x.shape[:2], *sizes))
    made[(..., *(slice(None, None, step) for step in stride))] = x
    return made
