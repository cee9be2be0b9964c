"""Both readings of the backward pass: by finite differences, by formula, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from colonnade.sparsify.nm.flow import FLOWS, Flow, FlowAt
from colonnade.sparsify.nm.functional import flow_weight
from colonnade.sparsify.nm.mask import nm_mask
from colonnade.sparsify.nm.pattern import NMPattern
from unit.sparsify.nm import reference

PATTERN = NMPattern(1, 4)
STATES = [
    FlowAt(PATTERN, 0.0),
    FlowAt(PATTERN, 0.3),
    FlowAt(PATTERN, 1.0),
    FlowAt(PATTERN, 0.3, NMPattern(2, 4)),
]


def weights(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Magnitudes far apart in each group: no mask flips within a finite difference."""
    generator = torch.Generator().manual_seed(3)
    order = torch.argsort(torch.rand(6, 2, 4, generator=generator), dim=-1).reshape(6, 8)
    signs = torch.randint(0, 2, (6, 8), generator=generator) * 2 - 1
    return ((order + 1) * signs).to(dtype)


@pytest.mark.parametrize("now", STATES)
def test_masked_gradient_is_the_derivative(now: FlowAt) -> None:
    weight = weights().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: flow_weight(w, Flow(), now) ** 2, (weight,), eps=1e-5)


@pytest.mark.parametrize("now", STATES)
@pytest.mark.parametrize("grad", ["masked", "ste"])
@pytest.mark.parametrize("decay", [0.0, 2e-4])
def test_agrees_with_plain_loops(now: FlowAt, grad: str, decay: float) -> None:
    flow = Flow(grad=grad, decay=decay)
    weight = weights().requires_grad_()
    arriving = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shown = flow_weight(weight, flow, now)
    shown.backward(arriving)
    plain = weight.detach().numpy()
    assert np.array_equal(shown.detach().numpy(), reference.shown(plain, now))
    if now.is_dense:
        assert torch.equal(weight.grad, arriving)
    else:
        assert np.array_equal(
            weight.grad.numpy(), reference.gradient(arriving.numpy(), plain, flow, now)
        )


def test_sr_ste_is_the_published_formula_to_the_bit() -> None:
    weight = weights(torch.float32).requires_grad_()
    arriving = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    flow_weight(weight, FLOWS["sr-ste"], FlowAt(PATTERN, 0.0)).backward(arriving)
    mask = nm_mask(weight, PATTERN).float()
    expected = arriving + 2e-4 * (1 - mask) * weight.detach()
    assert torch.equal(weight.grad, expected)


def test_limits_of_the_forward_pass() -> None:
    weight = weights()
    closed = flow_weight(weight, FLOWS["mdgf-exponential"], FlowAt(PATTERN, 0.0))
    straight = flow_weight(weight, FLOWS["ste"], FlowAt(PATTERN, 0.0))
    assert torch.equal(closed, straight)
    assert torch.equal(closed, weight * nm_mask(weight, PATTERN))
    assert torch.equal(flow_weight(weight, Flow(), FlowAt(PATTERN, 1.0)), weight)
