"""Batch normalisation after pruning: its running statistics follow what the layers now make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify.oneshot.inputs import Forward

EPSILON = 1e-12


class Norm(NamedTuple):
    """Mean and variance of what a normalisation reads, and its running ones at that time."""

    mean: Tensor
    variance: Tensor
    running_mean: Tensor
    running_variance: Tensor


def measure_norms(model: nn.Module, forwards: Iterable[Forward]) -> dict[str, Norm]:
    """By name of the module, over all forward passes; each normalises by its batch's own
    statistics, so that layers behind it see what they will see. The model stays as it was."""
    norms = _find_norms(model)
    before = {name: (n.running_mean, n.running_var, n.num_batches_tracked, n.momentum)
              for name, n in norms.items()}  # fmt: skip
    training = {name: module.training for name, module in model.named_modules()}
    count = 0
    try:
        model.eval()
        for norm in norms.values():
            norm.training, norm.momentum = True, None  # plain averages over batches
            norm.running_mean = torch.zeros_like(norm.running_mean)
            norm.running_var = torch.ones_like(norm.running_var)
            norm.num_batches_tracked = torch.zeros((), dtype=torch.long)
        with torch.no_grad():
            for forward in forwards:
                forward()
                count += 1
        measured = {name: (norm.running_mean, norm.running_var) for name, norm in norms.items()}
    finally:
        for name, norm in norms.items():
            norm.running_mean, norm.running_var, norm.num_batches_tracked, norm.momentum = before[
                name
            ]
        for name, module in model.named_modules():
            module.training = training[name]
    if norms and count == 0:
        raise RecipeError("the calibration data holds no batches; give at least one")
    return {
        name: Norm(mean, variance, before[name][0].clone(), before[name][1].clone())
        for name, (mean, variance) in measured.items()
    }


def reestimate_batch_norm(
    model: nn.Module,
    forwards: Callable[[], Iterable[Forward]],
    dense: Mapping[str, Norm] | None = None,
) -> None:
    """Set the running statistics to those of the data.

    With `dense` (from `measure_norms` on the model before it was pruned) they move by what pruning
    changed only, on the same data: so a little data is enough.
    """
    norms = _find_norms(model)
    for name, now in measure_norms(model, forwards()).items():
        mean, variance = now.mean, now.variance
        if dense is not None:
            was = dense[name]
            mean = was.running_mean + now.mean - was.mean
            variance = was.running_variance * (now.variance + EPSILON) / (was.variance + EPSILON)
        norms[name].running_mean.copy_(mean)
        norms[name].running_var.copy_(variance)


def _find_norms(model: nn.Module) -> dict[str, Any]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    }
