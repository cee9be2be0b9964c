"""Sparse from the first step on, with connections that move."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Duration, Modifier, check_share

if TYPE_CHECKING:
    from torch import Tensor

    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class RigL(Modifier):
    """Every `update_every` epochs the smallest weights give way to those with the largest gradients
    (Evci et al. 2020, arXiv 1911.11134). New weights start at zero; no weight moves in a step that
    updates the masks.

    The share that moves falls from `fraction` by half a cosine to zero at `end`. `allocation` "erk"
    keeps more in layers with few weights (Erdos-Renyi-kernel), at `sparsity` of all together.
    """

    needs_end: ClassVar[bool] = True
    targets: tuple[str, ...] = ("prunable",)
    ignore: tuple[str, ...] = ()
    sparsity: float
    update_every: Duration
    fraction: float = 0.3
    allocation: Literal["uniform", "erk"] = "erk"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.sparsity, "sparsity")
        if not 0 < self.fraction <= 1:
            raise RecipeError(
                f"expected a share above 0 and at most 1, got {self.fraction:g}",
                parameter="fraction",
            )
        if self.update_every <= 0:
            raise RecipeError(
                f"expected more than 0, got {self.update_every:g}", parameter="update_every"
            )

    def initialize(self, run: Run) -> Action:
        """Find the layers, and how many weights each keeps."""
        from colonnade.sparsify.layers import find_layers

        if self.end is None:
            raise RecipeError("is needed: when the masks stop to move", parameter="end")
        layers = find_layers(run.model, self.targets, self.ignore)
        run.claim(self, [layer.name for layer in layers], "zeros")
        return _Rewire(self, layers)

    def moved_share(self, progress: float) -> float:
        """The share of the weights that moves when `progress` of the time is over.

        >>> RigL(sparsity=0.9, update_every=1.0).moved_share(0.5)
        0.15
        """
        return round(self.fraction / 2 * (1 + math.cos(math.pi * progress)), 12)


class _Rewire(Action):
    def __init__(self, modifier: RigL, layers: list[Layer]) -> None:
        self._modifier = modifier
        self._layers = layers

    def before_step(self, run: Run) -> None:
        if run.step != run.step_of(self._modifier.start):
            return
        from colonnade.sparsify.groups import keep_best

        for layer, kept in zip(self._layers, _num_kept(self._modifier, self._layers), strict=True):
            mask = keep_best(layer.weight.detach().abs().flatten(), kept)
            run.masks.hold(layer.name, mask.reshape(layer.weight.shape))

    def before_optimizer(self, run: Run) -> None:
        assert self._modifier.end is not None
        first, last = run.step_of(self._modifier.start), run.step_of(self._modifier.end)
        period = max(1, run.step_of(self._modifier.update_every))
        if not first < run.step < last or (run.step - first) % period:
            return
        share = self._modifier.moved_share((run.step - first) / (last - first))
        for layer in self._layers:
            if layer.weight.grad is not None:
                mask = _rewired(layer, run.masks[layer.name], share)
                run.masks.hold(layer.name, mask)
        for group in run.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def _rewired(layer: Layer, mask: Tensor, share: float) -> Tensor:
    from colonnade.sparsify.groups import keep_best

    assert layer.weight.grad is not None
    flat = mask.flatten()
    num_kept = int(flat.sum())
    num_moved = min(round(share * num_kept), flat.numel() - num_kept)
    size = layer.weight.detach().abs().flatten()
    stays = keep_best(size.masked_fill(~flat, -math.inf), num_kept - num_moved)
    pull = layer.weight.grad.abs().flatten()
    grows = keep_best(pull.masked_fill(flat, -math.inf), num_moved)
    return (stays | grows).reshape(mask.shape)


def _num_kept(modifier: RigL, layers: list[Layer]) -> list[int]:
    if modifier.allocation == "uniform":
        return [round((1 - modifier.sparsity) * layer.weight.numel()) for layer in layers]
    sizes = [layer.weight.numel() for layer in layers]
    shares = [sum(layer.weight.shape) / layer.weight.numel() for layer in layers]
    return erdos_renyi(sizes, shares, round((1 - modifier.sparsity) * sum(sizes)))


def erdos_renyi(sizes: list[int], shares: list[float], total: int) -> list[int]:
    """Weights that each layer keeps, in proportion to share * size and `total` in all; a layer that
    would keep more than it has stays dense and leaves the rest to the others.

    >>> erdos_renyi([100, 1000], [0.2, 0.06], 160)
    [40, 120]
    """
    dense: set[int] = set()
    while True:
        room = total - sum(sizes[i] for i in dense)
        weight = sum(shares[i] * n for i, n in enumerate(sizes) if i not in dense)
        scale = max(room, 0) / weight if weight else 0.0
        full = {i for i in range(len(sizes)) if i not in dense and scale * shares[i] > 1}
        if not full:
            break
        dense |= full
    return [
        n if i in dense else round(scale * shares[i] * n)
        for i, n in enumerate(sizes)
    ]  # fmt: skip
