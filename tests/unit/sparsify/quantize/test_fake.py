"""Fake quantization: known integers, exact zeros, and gradients."""

from __future__ import annotations

import torch

from colonnade.sparsify.quantize.fake import (
    FakeActivation,
    FakeWeight,
    activation_scale,
    fake_weight,
    weight_scales,
)


def test_weights_lie_on_the_grid_of_their_row() -> None:
    weight = torch.tensor([[1.27, -0.016, 0.0], [0.0, 0.0, 0.0], [-2.54, 2.54, 0.011]])
    scales = weight_scales(weight)
    assert torch.allclose(scales[[0, 2]], torch.tensor([0.01, 0.02]))
    shown = fake_weight(weight, scales)
    assert torch.allclose(
        shown, torch.tensor([[1.27, -0.02, 0.0], [0.0, 0.0, 0.0], [-2.54, 2.54, 0.02]])
    )
    assert torch.equal(shown[weight == 0], torch.zeros(4))


def test_a_quantized_weight_stays_as_it_is() -> None:
    weight = torch.randn(6, 9, 3, 3, generator=torch.Generator().manual_seed(0))
    module = FakeWeight(weight)
    once = module(weight)
    assert torch.allclose(module(once), once, rtol=1e-6, atol=0)


def test_ranges_are_widened_to_hold_zero() -> None:
    scale, zero = activation_scale(torch.tensor(1.0), torch.tensor(5.1))
    assert (round(float(scale), 6), int(zero)) == (0.02, 0)
    scale, zero = activation_scale(torch.tensor(-1.28), torch.tensor(1.27))
    assert (round(float(scale), 6), int(zero)) == (0.01, 128)


def test_a_range_follows_what_it_sees_in_training_only() -> None:
    fake = FakeActivation()
    fake.eval()
    odd = torch.tensor([0.123456, 2.0])
    assert torch.equal(fake(odd), odd)
    fake.train()
    fake(torch.tensor([-1.0, 3.0]))
    assert (float(fake.low), float(fake.high)) == (-1.0, 3.0)
    fake(torch.tensor([-2.0, 3.0]))
    assert round(float(fake.low), 6) == -1.1
    fake.is_observing = False
    fake(torch.tensor([-9.0, 9.0]))
    assert round(float(fake.low), 6) == -1.1


def test_gradients_pass_inside_of_the_range_only() -> None:
    fake = FakeActivation()
    fake.set_range(-1.0, 1.0)
    fake.is_observing = False
    values = torch.tensor([-2.0, 0.3, 2.0], requires_grad=True)
    fake(values).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 1.0, 0.0]
