"""Masks of one layer or of several that compete, from scores of their weights.

A weight is seen as a matrix: a row for each output, a column for each input. A convolution
[C_out, C_in, kh, kw] becomes [C_out, kh * kw * C_in], so that groups and blocks run along C_in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from colonnade.errors import RecipeError
from colonnade.sparsify.pattern import NM, Block, Pattern, Vector

if TYPE_CHECKING:
    from colonnade.sparsify.layers import Layer


def to_matrix(weight: Tensor, rows_axis: int = 0) -> Tensor:
    """The matrix of a weight whose outputs lie along `rows_axis` (0, or 1 in transposed layers)."""
    if weight.ndim < 2:
        raise RecipeError(f"a weight to prune has 2 axes or more, got {list(weight.shape)}")
    outputs_first = weight.transpose(0, 1) if rows_axis else weight
    return outputs_first.movedim(1, -1).flatten(1)


def from_matrix(matrix: Tensor, like: Tensor, rows_axis: int = 0) -> Tensor:
    """The inverse of to_matrix: `matrix` in the shape of the weight `like`."""
    outputs_first = like.transpose(0, 1) if rows_axis else like
    shape = outputs_first.movedim(1, -1).shape
    restored = matrix.reshape(shape).movedim(-1, 1)
    return (restored.transpose(0, 1) if rows_axis else restored).contiguous()


@dataclass(frozen=True)
class Groups:
    """The scores of a layer's groups (1-D), the number of weights in each, and what undoes it."""

    scores: Tensor
    sizes: Tensor
    pattern: Pattern
    shape: tuple[int, int]
    taps: int

    def expand(self, keep: Tensor) -> Tensor:
        """The mask of the matrix from a mask of the groups."""
        rows, columns = self.shape
        match self.pattern:
            case Vector("filter"):
                return keep[:, None].expand(rows, columns)
            case Vector():
                return keep.repeat(self.taps)[None, :].expand(rows, columns)
            case Block(block_rows, block_columns):
                grid = keep.reshape(-(-rows // block_rows), -(-columns // block_columns))
                whole = grid.repeat_interleave(block_rows, 0).repeat_interleave(block_columns, 1)
                return whole[:rows, :columns]
            case _:
                return keep.reshape(rows, columns)


def make_groups(scores: Tensor, pattern: Pattern, taps: int = 1) -> Groups:
    """The groups of a matrix of scores; a group scores the mean of its weights.

    `taps` is kh * kw of a convolution, 1 of a linear layer.
    """
    rows, columns = scores.shape
    shape = (rows, columns)
    match pattern:
        case Vector("filter"):
            means = scores.mean(1)
            return Groups(means, torch.full_like(means, columns), pattern, shape, taps)
        case Vector():
            inputs = columns // taps
            means = scores.reshape(rows * taps, inputs).mean(0)
            return Groups(means, torch.full_like(means, rows * taps), pattern, shape, taps)
        case Block(block_rows, block_columns):
            sums = _block_sums(scores, block_rows, block_columns)
            sizes = _block_sums(torch.ones_like(scores), block_rows, block_columns)
            return Groups((sums / sizes).flatten(), sizes.flatten(), pattern, shape, taps)
        case _:
            flat = scores.flatten()
            return Groups(flat, torch.ones_like(flat), pattern, shape, taps)


def _block_sums(matrix: Tensor, rows: int, columns: int) -> Tensor:
    padded = pad_matrix(matrix, rows, columns, 0.0)
    grid = padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)
    return grid.sum((1, 3))


def pad_matrix(matrix: Tensor, rows: int, columns: int, value: float) -> Tensor:
    """The matrix with rows and columns added until they are multiples of `rows` and `columns`."""
    below, right = -matrix.shape[0] % rows, -matrix.shape[1] % columns
    return torch.nn.functional.pad(matrix, (0, right, 0, below), value=value)


def keep_best(scores: Tensor, num_kept: int) -> Tensor:
    """A mask of the `num_kept` highest of 1-D scores; of equal ones the first stay."""
    num_dropped = scores.numel() - num_kept
    if num_dropped <= 0:
        return torch.ones_like(scores, dtype=torch.bool)
    if num_kept <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = scores.kthvalue(num_dropped).values
    above, equal = scores > threshold, scores == threshold
    room = num_kept - int(above.sum())
    return above | (equal & (equal.cumsum(0) <= room))


def keep_nm(scores: Tensor, n: int, m: int) -> Tensor:
    """The N:M mask of a matrix of scores; of equal ones the first stay."""
    rows, columns = scores.shape
    padded = pad_matrix(scores, 1, m, -torch.inf).reshape(-1, m)
    order = torch.sort(padded, dim=1, descending=True, stable=True).indices
    keep = torch.zeros_like(padded, dtype=torch.bool).scatter_(1, order[:, :n], value=True)
    return keep.reshape(rows, -1)[:, :columns]


def make_mask(scores: Tensor, sparsity: float, pattern: Pattern, taps: int = 1) -> Tensor:
    """The mask of one matrix at `sparsity`, the share of weights to drop (rounded to whole groups).

    With N:M, `sparsity` says how many of m stay, never fewer than n.
    """
    if isinstance(pattern, NM):
        return keep_nm(scores, nm_kept(sparsity, pattern), pattern.m)
    groups = make_groups(scores, pattern, taps)
    total = groups.scores.numel()
    return groups.expand(keep_best(groups.scores, total - round(sparsity * total)))


def nm_kept(sparsity: float, pattern: NM) -> int:
    """How many of m weights stay on the way to N:M.

    >>> [nm_kept(s, NM(2, 8)) for s in (0.0, 0.5, 0.75, 0.9)]
    [8, 4, 2, 2]
    """
    return max(pattern.n, pattern.m - round(sparsity * pattern.m))


def make_global_masks(layers: list[Groups], sparsity: float) -> list[Tensor]:
    """Masks of several layers, for which the groups of all of them compete by score.

    The worst groups go until `sparsity` of all weights are gone; of equal ones the first stay.
    """
    scores = torch.cat([layer.scores for layer in layers])
    sizes = torch.cat([layer.sizes for layer in layers]).to(torch.float64)
    keep = _keep_by_size(scores, sizes, sparsity)
    parts = keep.split([layer.scores.numel() for layer in layers])
    return [layer.expand(part) for layer, part in zip(layers, parts, strict=True)]


def _keep_by_size(scores: Tensor, sizes: Tensor, sparsity: float) -> Tensor:
    if bool((sizes == sizes[0]).all()):
        total = scores.numel()
        return keep_best(scores, total - round(sparsity * total))
    best_first = torch.sort(scores, descending=True, stable=True).indices
    weights_before = sizes[best_first].cumsum(0) - sizes[best_first]
    wanted = (1 - sparsity) * sizes.sum()
    keep = torch.zeros_like(scores, dtype=torch.bool)
    keep[best_first[weights_before < wanted - 0.5]] = True
    return keep


def magnitude_masks(
    layers: Sequence[Layer], sparsity: float, pattern: Pattern, scope: Literal["layer", "global"]
) -> list[Tensor]:
    """Masks of the layers' matrices by magnitude; with "global" they compete."""
    if scope == "global":
        groups = [make_groups(layer.matrix().abs(), pattern, layer.taps) for layer in layers]
        return make_global_masks(groups, sparsity)
    return [make_mask(layer.matrix().abs(), sparsity, pattern, layer.taps) for layer in layers]
