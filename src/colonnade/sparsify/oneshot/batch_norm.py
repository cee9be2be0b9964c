"""Batch normalisation after pruning: its running statistics follow what the layers now make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from colonnade.errors import RecipeError
from colonnade.sparsify.oneshot.inputs import Forward
from colonnade.sparsify.ranks import sum_ranks

EPSILON = 1e-12
_CHANGED = ("momentum", "num_batches_tracked", "running_mean", "running_var")
"""What of a normalisation is another while it is measured."""


class Norm(NamedTuple):
    """Mean and variance of what a normalisation reads, and its running ones at that time."""

    mean: Tensor
    variance: Tensor
    running_mean: Tensor
    running_variance: Tensor


def measure_norms(model: nn.Module, forwards: Iterable[Forward]) -> dict[str, Norm]:
    """By name of the module, over all forward passes; each normalises by its batch's own
    statistics, so that layers behind it see what they will see. The model stays as it was.

    A batch of one value for each channel has no statistics: it is normalised by the running ones,
    and counts where there are no others.
    """
    norms = _find_norms(model)
    if not norms:
        return {}
    seen = {name: _Moments(norm) for name, norm in norms.items()}
    training = {name: module.training for name, module in model.named_modules()}
    before = {name: {key: getattr(norm, key) for key in _CHANGED} for name, norm in norms.items()}
    hooks = [norm.register_forward_pre_hook(seen[name].see) for name, norm in norms.items()]
    count = 0
    try:
        model.eval()
        for norm in norms.values():
            # The running ones stay, even if what comes is not finite.
            norm.momentum, norm.num_batches_tracked = 0.0, None
            norm.running_mean, norm.running_var = (
                norm.running_mean.clone(),
                norm.running_var.clone(),
            )
        with torch.no_grad():
            for forward in forwards:
                forward()
                count += 1
    finally:
        for hook in hooks:
            hook.remove()
        for name, norm in norms.items():
            for key, value in before[name].items():
                setattr(norm, key, value)
        for name, module in model.named_modules():
            module.training = training[name]
    if count == 0:
        raise RecipeError("the calibration data holds no batches; give at least one")
    return {name: found for name, each in seen.items() if (found := each.result(name)) is not None}


class _Moments:
    """What a normalisation reads: the mean of batches' means and variances, and sums over the
    values that came alone."""

    def __init__(self, norm: Any) -> None:
        self._norm = norm
        # Means and variances of batches and their number; values, squares and their number.
        self._batches, self._alone = (
            torch.zeros(3, norm.num_features, dtype=torch.float64) for _ in range(2)
        )

    def see(self, norm: Any, args: tuple[Tensor, ...]) -> None:
        """Count a batch, before it is normalised."""
        columns = args[0].detach().transpose(0, 1).flatten(1).double().cpu()
        norm.training = columns.shape[1] > 1
        first, second = columns.mean(1), columns.mean(1).square()
        if norm.training:
            second = columns.var(1)
        total = self._batches if norm.training else self._alone
        total += torch.stack([first, second, torch.ones_like(first)])

    def result(self, name: str) -> Norm | None:
        """None if nothing came."""
        norm = self._norm
        device = norm.running_mean.device
        batches, alone = (sum_ranks(each, device) for each in (self._batches, self._alone))
        if batches[2].any():
            mean, variance = batches[0] / batches[2], batches[1] / batches[2]
        elif alone[2].gt(1).all():
            mean = alone[0] / alone[2]
            variance = (alone[1] - alone[2] * mean.square()) / (alone[2] - 1)
        elif alone[2].any():
            raise RecipeError(
                f"batch normalisation {name}: a single value of each channel in all of the "
                "calibration data has no variance; give more data, or set batch_norm to false"
            )
        else:
            return None
        running = norm.running_mean, norm.running_var
        return Norm(
            *(each.to(running[0]) for each in (mean, variance.clamp_min(0))),
            *(each.clone() for each in running),
        )


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
            if name not in dense:
                continue
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
