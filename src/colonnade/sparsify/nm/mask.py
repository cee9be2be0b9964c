"""Masks of N:M patterns, vectorised."""

from __future__ import annotations

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
    if n == m:
        return torch.ones_like(magnitudes, dtype=torch.bool)
    groups = _groups(magnitudes, m)
    # Padding must not take a place from a zero weight that comes before it: it is last, and ties
    # go to the first.
    mask = torch.zeros_like(groups, dtype=torch.bool)
    if n == 1:
        mask.scatter_(-1, groups.argmax(-1, keepdim=True), value=True)
    else:
        order = groups.sort(dim=-1, descending=True, stable=True).indices
        mask.scatter_(-1, order[..., :n], value=True)
    return mask.reshape(*magnitudes.shape[:-1], -1)[..., :width]
