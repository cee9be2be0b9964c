"""Optimal brain surgeon: prune what the loss misses least, and repair the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import check_positive
from colonnade.sparsify.modifiers.gradual import GradualPruning, Scorer
from colonnade.sparsify.pattern import Block, Pattern

if TYPE_CHECKING:
    from torch import Tensor

    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class OBSPruning(GradualPruning):
    """The weights go whose removal raises the loss least, and those that stay move to make up for
    them: oBERT (Kurtic et al. 2022, arXiv 2203.07259), with the empirical Fisher in blocks.

    Before every update `num_grads` gradients are sampled (the session's `sample_losses`). A block
    is `fisher_block` consecutive weights of a row; memory is `fisher_block` doubles a weight.
    Blocks 1xC of weights are scored and removed as one where C divides `fisher_block`. Frozen
    layers are left dense.
    """

    num_grads: int = 1024
    damping: float = 1e-7
    fisher_block: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "num_grads", "damping", "fisher_block")

    def why_not(self, layer: Layer, pattern: Pattern) -> str:
        """Nothing is known of a frozen layer."""
        frozen = "" if layer.weight.requires_grad else "it is frozen and has no gradients"
        return super().why_not(layer, pattern) or frozen

    def make_scorer(self, run: Run, layers: list[Layer], pattern: Pattern) -> Scorer:
        """Refused without a source of gradients."""
        if run.sample_losses is None:
            raise RecipeError("gradients are sampled: give the session `sample_losses`")
        return _Surgeon(self, layers, pattern)


class _Surgeon(Scorer):
    def __init__(self, modifier: OBSPruning, layers: list[Layer], pattern: Pattern) -> None:
        self._modifier = modifier
        self._layers = layers
        self._width = 1
        if isinstance(pattern, Block) and pattern.rows == 1:
            self._width = pattern.cols if modifier.fisher_block % pattern.cols == 0 else 1
        self._inverses: dict[str, Tensor] = {}

    def prepare(self, run: Run) -> None:
        from colonnade.sparsify.fisher import BlockFisher, sample_gradients

        asked = self._modifier
        fishers = {
            layer.name: BlockFisher(
                layer.matrix(), asked.fisher_block, asked.damping, asked.num_grads
            )
            for layer in self._layers
        }
        for gradients in sample_gradients(run, self._layers, asked.num_grads):
            for layer in self._layers:
                fishers[layer.name].add(layer.matrix(gradients[layer.name]))
        self._inverses = {name: fishers.pop(name).inverse() for name in list(fishers)}

    def scores(self, layer: Layer) -> Tensor:
        from colonnade.sparsify.fisher import removal_costs

        return removal_costs(layer.matrix(), self._inverses[layer.name], self._width)

    def before_mask(self, layer: Layer, mask: Tensor) -> None:
        from colonnade.sparsify.fisher import repair

        repaired = repair(layer.matrix(), mask, self._inverses[layer.name])
        layer.weight.data.copy_(layer.in_shape(repaired))
