"""Post-training quantization in torch: ranges of activations from calibration batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn

from colonnade.errors import InputError
from colonnade.sparsify.quantize.fake import FakeActivation
from colonnade.sparsify.quantize.layers import PassedNorm
from colonnade.sparsify.quantize.prepare import QUANTIZABLE, find_quantizable, prepare
from colonnade.sparsify.quantize.ranges import BINS, METHODS, Histogram

Method = Literal["min_max", "percentile", "entropy", "mse"]


def quantize(
    model: nn.Module,
    batches: Sequence[Any],
    *,
    method: Method = "mse",
    targets: Sequence[str] = (QUANTIZABLE,),
    ignore: Sequence[str] = (),
) -> nn.Module:
    """Quantize the layers that `targets` name, in place, with ranges as in `batches`.

    `batches` is read twice; a tuple is the model's positional arguments, a mapping its keywords.
    """
    prepare(model, find_quantizable(model, targets, ignore))
    for module in model.modules():
        if isinstance(module, PassedNorm):
            module.is_folded = True
    calibrate(model, batches, method)
    return model


def calibrate(model: nn.Module, batches: Sequence[Any], method: Method = "mse") -> None:
    """Set the ranges of a prepared model's activations."""
    fakes = {
        name: module for name, module in model.named_modules() if isinstance(module, FakeActivation)
    }
    for fake in fakes.values():
        fake.is_observing = False
        fake.is_ranged.fill_(value=False)
    ends = _collect(model, fakes, batches, lambda values, _: torch.stack(values.aminmax()))
    limits = {
        name: (
            float(torch.stack(seen)[:, 0].min().clamp(max=0)),
            float(torch.stack(seen)[:, 1].max().clamp(min=0)),
        )
        for name, seen in ends.items()
    }
    counts = _collect(model, fakes, batches, lambda values, name: _count(values, *limits[name]))
    for name, fake in fakes.items():
        if name not in counts:
            raise InputError(f"no calibration batch reaches {name}: leave it out of the targets")
        low, high = limits[name]
        histogram = Histogram(torch.stack(counts[name]).sum(0), low, high)
        fake.set_range(*(METHODS[method](histogram) if high > low else (low, high)))


def call(model: nn.Module, batch: Any) -> Any:
    """The model on a batch."""
    if isinstance(batch, Tensor):
        return model(batch)
    return model(**batch) if hasattr(batch, "keys") else model(*batch)


def _count(values: Tensor, low: float, high: float) -> Tensor:
    if high <= low:
        return torch.zeros(BINS)
    return torch.histc(values.float(), BINS, low, high)


def _collect(
    model: nn.Module,
    fakes: dict[str, FakeActivation],
    batches: Iterable[Any],
    measure: Callable[[Tensor, str], Tensor],
) -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found.setdefault(name, []).append(measure(inputs[0].detach(), name))

        return keep

    was_training = model.training
    model.eval()
    with ExitStack() as stack, torch.no_grad():
        for name, fake in fakes.items():
            stack.callback(fake.register_forward_pre_hook(hook(name)).remove)
        num_batches = 0
        for batch in batches:
            call(model, batch)
            num_batches += 1
    model.train(was_training)
    if num_batches == 0:
        raise InputError("calibration needs data, got no batch")
    return found
