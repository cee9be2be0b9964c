"""Linear and convolutional layers that compute as their int8 form will.

They share the parameters of the layers that they replace, under the same names, and their hooks:
optimizers, masks and hooks that know these keep working. A convolution may have a batch-norm behind
it; once its statistics are frozen, the weight that is quantized is the folded one, as it will be
exported.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from colonnade.sparsify.quantize.fake import FakeActivation, FakeWeight

HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
)
"""Where a module keeps what runs around its forward and backward."""


class FakeLinear(nn.Linear):
    """Linear on a quantized input with a quantized weight."""

    def __init__(self, plain: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.weight, self.bias = plain.weight, plain.bias
        self.input_fake_quant = FakeActivation(self.weight.device)
        self.weight_fake_quant = FakeWeight(self.weight)
        self.train(plain.training)
        _share_hooks(plain, self)

    def effective(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias before quantization."""
        return self.weight, self.bias

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """The product of what integers hold."""
        weight, bias = self.effective()
        shown = self.weight_fake_quant(weight)
        return nn.functional.linear(self.input_fake_quant(input), shown, bias)


class FakeConv2d(nn.Conv2d):
    """Conv2d on a quantized input with a quantized weight."""

    def __init__(self, plain: nn.Conv2d, norm: PassedNorm | None = None) -> None:
        nn.Module.__init__(self)
        kept = set(self.__dict__)
        self.__dict__.update(
            {key: value for key, value in plain.__dict__.items() if key not in kept}
        )
        self.weight, self.bias = plain.weight, plain.bias
        self.input_fake_quant = FakeActivation(self.weight.device)
        self.weight_fake_quant = FakeWeight(self.weight)
        # In a list: the norm is the model's module, not a part of this one.
        self._norm = [norm]
        self.train(plain.training)
        _share_hooks(plain, self)

    @property
    def norm(self) -> PassedNorm | None:
        """The batch-norm behind."""
        return self._norm[0]

    def effective(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias before quantization, with a frozen batch-norm folded in."""
        if self.norm is None or not self.norm.is_folded:
            return self.weight, self.bias
        return fold_norm(self.weight, self.bias, self.norm)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """The convolution of what integers hold."""
        weight, bias = self.effective()
        shown = self.weight_fake_quant(weight)
        result: Tensor = self._conv_forward(self.input_fake_quant(input), shown, bias)
        return result


class PassedNorm(nn.BatchNorm2d):
    """A batch-norm that the convolution before it computes, from the time it is folded."""

    def __init__(self, plain: nn.BatchNorm2d) -> None:
        nn.Module.__init__(self)
        for key, value in plain.__dict__.items():
            if key not in ("_parameters", "_buffers", "_modules"):
                self.__dict__[key] = value
        self._parameters, self._buffers = plain._parameters, plain._buffers
        self.is_folded = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Nothing, once it is folded."""
        if self.is_folded:
            return input
        result: Tensor = super().forward(input)
        return result


def fold_norm(
    weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a convolution that computes the batch-norm behind it as well."""
    assert norm.running_var is not None
    factors = (norm.running_var + norm.eps).rsqrt()
    if norm.affine:
        factors = factors * norm.weight
    moved = -norm.running_mean if bias is None else bias - norm.running_mean
    shift = moved * factors
    if norm.affine:
        shift = shift + norm.bias
    folded = weight * factors.reshape(-1, *[1] * (weight.ndim - 1))
    return folded.to(weight.dtype), shift.to(weight.dtype)


FAKES = (FakeLinear, FakeConv2d)


def bake(model: nn.Module) -> None:
    """Fold for good: each weight exactly on its int8 grid, each folded batch-norm an identity."""
    for module in list(model.modules()):
        if not isinstance(module, FAKES):
            continue
        with torch.no_grad():
            weight, bias = module.effective()
            module.weight.copy_(module.weight_fake_quant(weight))
            if bias is not None and module.bias is None:
                module.bias = nn.Parameter(bias.clone())
            elif bias is not None:
                module.bias.copy_(bias)
        if isinstance(module, FakeConv2d) and module.norm is not None and module.norm.is_folded:
            identity = nn.Identity()
            _share_hooks(module.norm, identity)
            replace(model, module.norm, identity)
            module._norm = [None]


def replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put one module wherever another is: a module that is shared has several names."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)


def _share_hooks(old: nn.Module, new: nn.Module) -> None:
    """The very dicts: who holds a handle can remove the hook later."""
    for name in HOOKS:
        new.__dict__[name] = old.__dict__[name]
