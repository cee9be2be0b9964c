"""Sparse from the first step on, with connections that move."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Duration, Modifier, check_share
from colonnade.sparsify.pattern import NM, Pattern, parse_pattern

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

    Blocks, filters and channels move as a whole, by the means of their weights and gradients; with
    N:M, weights give way to others of their group.
    """

    needs_end: ClassVar[bool] = True
    targets: tuple[str, ...] = ("prunable",)
    ignore: tuple[str, ...] = ()
    sparsity: float
    update_every: Duration
    fraction: float = 0.3
    allocation: Literal["uniform", "erk"] = "erk"
    pattern: str = "unstructured"

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

        pattern = parse_pattern(self.pattern)
        if isinstance(pattern, NM):
            self._check_nm(1 - pattern.n / pattern.m)

    def initialize(self, run: Run) -> Action:
        """Find the layers, and how many weights each keeps."""
        from colonnade.sparsify.fitting import keep_fitting, why_not
        from colonnade.sparsify.layers import find_layers

        if self.end is None:
            raise RecipeError("is needed: when the masks stop to move", parameter="end")
        pattern = parse_pattern(self.pattern)
        found = find_layers(run.model, self.targets, self.ignore)
        layers = keep_fitting(found, self.targets, lambda layer: why_not(layer, pattern), run.note)
        run.claim(self, [layer.name for layer in layers], "zeros")
        return _Rewire(self, pattern, layers)

    def moved_share(self, progress: float) -> float:
        """The share of the weights that moves when `progress` of the time is over.

        >>> RigL(sparsity=0.9, update_every=1.0).moved_share(0.5)
        0.15
        """
        return round(self.fraction / 2 * (1 + math.cos(math.pi * progress)), 12)

    def _check_nm(self, sparsity: float) -> None:
        if self.allocation != "uniform":
            raise RecipeError("N:M fixes the sparsity of every layer", parameter="allocation")
        if abs(self.sparsity - sparsity) > 0.005:
            raise RecipeError(
                f"{self.pattern} is a sparsity of {sparsity:g}, got {self.sparsity:g}",
                parameter="sparsity",
            )


class _Rewire(Action):
    def __init__(self, modifier: RigL, pattern: Pattern, layers: list[Layer]) -> None:
        self._modifier = modifier
        self._pattern = pattern
        self._layers = layers

    def before_step(self, run: Run) -> None:
        if run.step != run.step_of(self._modifier.start):
            return
        for layer, kept in zip(self._layers, _num_kept(self._modifier, self._layers), strict=True):
            run.masks.hold(layer.name, layer.in_shape(_first(layer, kept, self._pattern)))

    def before_optimizer(self, run: Run) -> None:
        assert self._modifier.end is not None
        first, last = run.step_of(self._modifier.start), run.step_of(self._modifier.end)
        period = max(1, run.step_of(self._modifier.update_every))
        if not first < run.step < last or (run.step - first) % period:
            return
        share = self._modifier.moved_share((run.step - first) / (last - first))
        for layer in self._layers:
            if layer.weight.grad is not None:
                mask = _rewired(layer, run.masks[layer.name], share, self._pattern)
                run.masks.hold(layer.name, layer.in_shape(mask))
        for group in run.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def _first(layer: Layer, num_kept: int, pattern: Pattern) -> Tensor:
    from colonnade.sparsify.groups import keep_best, keep_nm, make_groups

    size = layer.matrix().abs()
    if isinstance(pattern, NM):
        return keep_nm(size, pattern.n, pattern.m)
    groups = make_groups(size, pattern, layer.taps)
    share = num_kept / size.numel()
    return groups.expand(keep_best(groups.scores, round(share * groups.scores.numel())))


def _rewired(layer: Layer, mask: Tensor, share: float, pattern: Pattern) -> Tensor:
    """The next mask of the matrix; as many groups as before stay."""
    from colonnade.sparsify.groups import make_groups

    assert layer.weight.grad is not None
    size, pull = layer.matrix().abs(), layer.matrix(layer.weight.grad).abs()
    held = layer.matrix(mask)
    if isinstance(pattern, NM):
        return _move_within(size, pull, held, share, pattern)
    groups = make_groups(size, pattern, layer.taps)
    pulls = make_groups(pull, pattern, layer.taps).scores
    is_held = make_groups(held.to(size.dtype), pattern, layer.taps).scores > 0.5
    return groups.expand(_move(groups.scores, pulls, is_held, share))


def _move(size: Tensor, pull: Tensor, held: Tensor, share: float) -> Tensor:
    from colonnade.sparsify.groups import keep_best

    num_kept = int(held.sum())
    num_moved = min(round(share * num_kept), held.numel() - num_kept)
    stays = keep_best(size.masked_fill(~held, -math.inf), num_kept - num_moved)
    grows = keep_best(pull.masked_fill(held, -math.inf), num_moved)
    return stays | grows


def _move_within(size: Tensor, pull: Tensor, held: Tensor, share: float, pattern: NM) -> Tensor:
    from colonnade.sparsify.groups import keep_best, keep_nm

    num_kept = int(held.sum())
    largest = size.masked_fill(~held, -math.inf).flatten()
    stays = keep_best(largest, num_kept - round(share * num_kept)).reshape(held.shape)
    # In a group that has no others to take, the largest of those that went come back.
    order = pull.where(~held, -1 / (1 + size)).masked_fill(stays, math.inf)
    return keep_nm(order, pattern.n, pattern.m)


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
