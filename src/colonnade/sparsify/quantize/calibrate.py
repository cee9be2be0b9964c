"""Post-training quantization in torch: ranges of activations from calibration batches."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from colonnade.errors import InputError
from colonnade.sparsify.quantize.fake import FakeActivation
from colonnade.sparsify.quantize.layers import PassedNorm
from colonnade.sparsify.quantize.prepare import QUANTIZABLE, find_quantizable, prepare
from colonnade.sparsify.quantize.ranges import (
    METHODS,
    PERCENTILE,
    Histogram,
    Range,
    find_range,
)

Method = Literal["min_max", "minmax", "percentile", "entropy", "mse"]
NAMES = MappingProxyType({"minmax": "min_max"})
"""What methods are called for ONNX files, where that differs."""


def quantize(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    method: Method = "mse",
    percentile: float = PERCENTILE,
    targets: Sequence[str] = (QUANTIZABLE,),
    ignore: Sequence[str] = (),
) -> nn.Module:
    """Quantize the layers that `targets` name, in place, with ranges as in `batches`.

    `batches`: a list or a loader, read twice; a tuple is the model's positional arguments, a
    mapping its keywords. `percentile`: share of the values that the method of this name keeps, in
    percent. What stays in float although it was meant is in a warning.
    """
    _check(batches, method, percentile)
    prepare(model, find_quantizable(model, targets, ignore), _warn)
    for module in model.modules():
        if isinstance(module, PassedNorm):
            module.is_folded = True
    calibrate(model, batches, method, percentile)
    return model


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    method: Method = "mse",
    percentile: float = PERCENTILE,
) -> None:
    """Set the ranges of a prepared model's activations."""
    _check(batches, method, percentile)
    fakes = {
        name.removesuffix(".input_fake_quant"): module
        for name, module in model.named_modules()
        if isinstance(module, FakeActivation)
    }
    for fake in fakes.values():
        fake.is_observing = False
        fake.is_ranged.fill_(value=False)
    histograms = {
        name: Histogram(*limits) for name, limits in _find_limits(model, fakes, batches).items()
    }
    for name in fakes:
        if name not in histograms:
            raise InputError(f"no calibration batch reaches {name}: leave it out of the targets")
    _watch(model, fakes, batches, lambda name, _, values: histograms[name].add(values))
    for name, fake in fakes.items():
        fake.set_range(*find_range(histograms[name], NAMES.get(method, method), percentile))


def call(model: nn.Module, batch: Any) -> Any:
    """The model on a batch."""
    if isinstance(batch, Tensor):
        return model(batch)
    return model(**batch) if hasattr(batch, "keys") else model(*batch)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def check_batches(batches: Iterable[Any]) -> None:
    """Refuse what can be read only once."""
    if iter(batches) is batches:
        raise InputError(
            "batches: an iterator can be read once, and calibration takes several passes; give a "
            "list or a loader"
        )


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)


def _check(batches: Iterable[Any], method: str, percentile: float) -> None:
    check_batches(batches)
    if NAMES.get(method, method) not in METHODS:
        raise InputError(f"method={method!r}; it is one of {', '.join(map(repr, METHODS))}")
    if not 50 < percentile <= 100:
        raise InputError(f"percentile={percentile}; it lies above 50, and is at most 100")


def _find_limits(
    model: nn.Module, fakes: Mapping[str, FakeActivation], batches: Iterable[Any]
) -> dict[str, Range]:
    limits: dict[str, Range] = {}

    def see(name: str, batch: int, values: Tensor) -> None:
        if values.numel() == 0:
            return
        low, high = (float(end) for end in values.float().aminmax())
        if not math.isfinite(low + high):
            raise InputError(
                f"calibration batch {batch}: what {name} reads is not finite, so it has no range; "
                "leave the batch out, or ignore the layer"
            )
        seen = limits.get(name, (0.0, 0.0))
        limits[name] = min(low, seen[0]), max(high, seen[1])

    _watch(model, fakes, batches, see)
    return limits


def _watch(
    model: nn.Module,
    fakes: Mapping[str, FakeActivation],
    batches: Iterable[Any],
    see: Callable[[str, int, Tensor], None],
) -> None:
    """Run the model, and let `see` have each layer's name, the batch's number and the input."""
    num_batches = 0

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: see(name, num_batches, inputs[0].detach())

    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        for name, fake in fakes.items():
            stack.callback(fake.register_forward_pre_hook(hook(name)).remove)
        for batch in batches:
            call(model, batch)
            num_batches += 1
    if num_batches == 0:
        raise InputError("calibration needs data, got no batch")
