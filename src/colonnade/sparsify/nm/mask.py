"""Masks of N:M patterns, vectorised."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from colonnade.sparsify.nm.pattern import NMPattern


def nm_mask(weight: Tensor, pattern: NMPattern) -> Tensor:
    """The n largest magnitudes of each group of m; of equal ones the first stay.

    A weight is outputs x inputs, or outputs x channels x taps of a convolution.
    """
    rows = _rows(weight.detach(), pattern)
    mask = _mask_rows(rows.abs(), pattern.n, pattern.m)
    return _from_rows(mask, weight, pattern)


def is_nm(weight: Tensor, pattern: NMPattern) -> bool:
    """Whether each group has at most n nonzeros.

    >>> is_nm(torch.tensor([[0.0, 3.0, 0.0, 0.0]]), NMPattern(1, 4))
    True
    """
    groups = _groups(_rows(weight.detach(), pattern) != 0, pattern.m)
    return bool((groups.sum(-1) <= pattern.n).all())


def pack_nm(weight: Tensor, pattern: NMPattern) -> tuple[Tensor, Tensor]:
    """Values and positions (rows x groups x n) of a weight that is in the pattern.

    Positions ascend in each group; a group with fewer nonzeros is filled up with zeros.
    """
    if not is_nm(weight, pattern):
        raise ValueError(f"the weight is not {pattern}: apply nm_mask first")
    groups = _groups(_rows(weight.detach(), pattern), pattern.m)
    chosen = _mask_rows(groups.abs(), pattern.n, pattern.m)
    positions = chosen.nonzero()[:, -1].reshape(*groups.shape[:-1], pattern.n)
    return groups.gather(-1, positions), positions


def _rows(weight: Tensor, pattern: NMPattern) -> Tensor:
    """The weight with its grouped axis last."""
    if weight.ndim < 2:
        raise ValueError(f"a weight with two axes or more is needed, got {list(weight.shape)}")
    if pattern.axis == "row":
        return weight.movedim(1, -1)
    return weight.movedim(0, -1)


def _from_rows(rows: Tensor, weight: Tensor, pattern: NMPattern) -> Tensor:
    back = rows.movedim(-1, 1 if pattern.axis == "row" else 0)
    return back.reshape(weight.shape)


def _groups(rows: Tensor, m: int) -> Tensor:
    padding = -rows.shape[-1] % m
    padded = torch.nn.functional.pad(rows, (0, padding))
    return padded.reshape(*rows.shape[:-1], -1, m)


def _mask_rows(magnitudes: Tensor, n: int, m: int) -> Tensor:
    width = magnitudes.shape[-1]
    groups = _groups(magnitudes, m)
    mask = _largest(groups, n)
    return mask.reshape(*magnitudes.shape[:-1], -1)[..., :width]


def _largest(groups: Tensor, n: int) -> Tensor:
    """The n largest of each group. Padding lies last: it takes no place from a zero before it."""
    if n == groups.shape[-1]:
        return torch.ones_like(groups, dtype=torch.bool)
    threshold = _nth_largest(groups, n)
    mask = groups >= threshold
    if int(mask.sum()) == n * threshold.numel():
        return mask
    # Of those that are equal to the threshold, only the first ones have a place.
    above, ties = groups > threshold, groups == threshold
    places = n - above.sum(-1, keepdim=True)
    return above | (ties & (ties.cumsum(-1) <= places))


def _nth_largest(groups: Tensor, n: int) -> Tensor:
    smaller = groups.shape[-1] - n
    if groups.device.type == "cpu" and groups.dtype in (torch.float32, torch.float64):
        # Several times as fast as torch's on a CPU.
        ordered = np.partition(groups.numpy(), smaller, axis=-1)
        return torch.from_numpy(ordered[..., smaller : smaller + 1])
    return groups.kthvalue(smaller + 1, dim=-1, keepdim=True).values
