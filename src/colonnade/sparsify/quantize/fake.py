"""Fake quantization: float32 values that int8 weights and uint8 activations can hold.

Weights are symmetric by output channel, activations asymmetric by tensor. Zero is an integer of
both, so that pruned weights and padding stay exactly zero. The gradient passes straight through
rounding and is cut off where values saturate. Scales are float32, whatever the model computes in.
The modules have the attributes of torch's own
(scale, zero_point, quant_min, quant_max, ch_axis), by which exporters know them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from colonnade.sparsify.ranks import max_ranks

WEIGHT_MAX = 127
LEVELS = 255
TINY = float(torch.finfo(torch.float32).tiny)
AVERAGED = 0.1
"""The share of a batch in the moving range."""


def weight_scales(weight: Tensor, rows_axis: int = 0) -> Tensor:
    """One scale for each output: its greatest magnitude becomes 127."""
    axes = [axis for axis in range(weight.ndim) if axis != rows_axis]
    return (weight.detach().abs().amax(axes).float() / WEIGHT_MAX).clamp(min=TINY)


def fake_weight(weight: Tensor, scales: Tensor, rows_axis: int = 0) -> Tensor:
    """The weight as int8 holds it."""
    zeros = torch.zeros(len(scales), dtype=torch.int32, device=weight.device)
    shown = torch.fake_quantize_per_channel_affine(
        weight.float(), scales, zeros, rows_axis, -WEIGHT_MAX, WEIGHT_MAX
    )
    return shown.to(weight.dtype)


def activation_scale(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point of uint8 for a range, which is widened to hold 0."""
    low, high = low.float().clamp(max=0.0), high.float().clamp(min=0.0)
    scale = ((high - low) / LEVELS).clamp(min=TINY)
    zero = (-low / scale).round().clamp(0, LEVELS).to(torch.int32)
    return scale, zero


class FakeWeight(nn.Module):
    """A weight as int8 holds it, with the scales of its present values."""

    scale: Tensor
    zero_point: Tensor
    quant_min, quant_max, ch_axis = -WEIGHT_MAX, WEIGHT_MAX, 0

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        scales = weight_scales(weight)
        # What they are follows from the weight: nothing to save.
        self.register_buffer("scale", scales, persistent=False)
        self.register_buffer("zero_point", torch.zeros_like(scales).int(), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that is multiplied with."""
        self.scale = weight_scales(weight)
        return fake_weight(weight, self.scale)


class FakeActivation(nn.Module):
    """An activation as uint8 holds it, in a range that follows what it sees while it observes.

    Until it has seen something, or a range was set, it passes values through.
    """

    low: Tensor
    high: Tensor
    is_ranged: Tensor
    quant_min, quant_max = 0, LEVELS

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros((), device=device))
        self.register_buffer("high", torch.zeros((), device=device))
        self.register_buffer("is_ranged", torch.zeros((), dtype=torch.bool, device=device))
        self.is_observing = True
        """Whether forward passes in training mode move the range."""

    def set_range(self, low: float, high: float) -> None:
        """Fix what uint8 covers."""
        self.low.fill_(low)
        self.high.fill_(high)
        self.is_ranged.fill_(value=True)

    @property
    def enabled(self) -> bool:
        """Whether values are rounded."""
        return bool(self.is_ranged)

    @property
    def scale(self) -> Tensor:
        """What one step of uint8 is."""
        return activation_scale(self.low, self.high)[0]

    @property
    def zero_point(self) -> Tensor:
        """The integer of 0."""
        return activation_scale(self.low, self.high)[1]

    def forward(self, values: Tensor) -> Tensor:
        """The values that the next layer gets."""
        if self.training and self.is_observing:
            self._observe(values.detach())
        if not bool(self.is_ranged):
            return values
        scale, zero = activation_scale(self.low, self.high)
        shown = torch.fake_quantize_per_tensor_affine(values.float(), scale, zero, 0, LEVELS)
        return shown.to(values.dtype)

    def _observe(self, values: Tensor) -> None:
        low, high = (value.float() for value in values.aminmax())
        low, high = -max_ranks(-low), max_ranks(high)
        if bool(self.is_ranged):
            self.low.lerp_(low.to(self.low), AVERAGED)
            self.high.lerp_(high.to(self.high), AVERAGED)
        else:
            self.set_range(float(low), float(high))
