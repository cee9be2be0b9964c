"""The differentiable form of an N:M weight: both readings of the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from colonnade.sparsify.nm.flow import Flow, FlowAt
from colonnade.sparsify.nm.mask import nm_mask


def flow_weight(weight: Tensor, flow: Flow, now: FlowAt, mask: Tensor | None = None) -> Tensor:
    """The weight that the forward pass sees; gradients flow as `flow` says.

    `mask` replaces the mask of the current pattern (a frozen one).
    """
    if now.is_dense:
        return weight
    kept = nm_mask(weight, now.pattern) if mask is None else mask
    shown: Tensor = _FlowWeight.apply(weight, kept, factor(weight, kept, now), flow)
    return shown


def factor(weight: Tensor, mask: Tensor, now: FlowAt) -> Tensor:
    """What each weight is multiplied by: 1 in the mask, the leak outside of it."""
    kept = mask.to(weight.dtype)
    if now.leak == 0:
        return kept
    leaking = 1 - kept
    if now.outer is not None:
        leaking = leaking * nm_mask(weight, now.outer)
    return kept + leaking * now.leak


def flow_gradient(
    gradient: Tensor, weight: Tensor, mask: Tensor, factors: Tensor, flow: Flow
) -> Tensor:
    """The gradient for the dense weight, from that for the weight in the forward pass."""
    passed = gradient if flow.grad == "ste" else gradient * factors
    if flow.decay == 0:
        return passed
    return passed + flow.decay * (1 - mask.to(weight.dtype)) * weight


class _FlowWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, mask: Tensor, factors: Tensor, flow: Flow) -> Tensor:
        ctx.save_for_backward(weight, mask, factors)
        ctx.flow = flow
        return weight * factors

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        weight, mask, factors = ctx.saved_tensors
        return flow_gradient(gradient, weight, mask, factors, ctx.flow), None, None, None
