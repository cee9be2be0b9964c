"""Prune the weights that training moves towards zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colonnade.sparsify.modifiers.gradual import GradualPruning, Scorer
from colonnade.sparsify.pattern import Pattern

if TYPE_CHECKING:
    from torch import Tensor

    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class MovementPruning(GradualPruning):
    """The weights with the lowest sums of -weight * gradient over all steps go (Sanh et al. 2020,
    arXiv 2005.07683; hard movement). Made for fine-tuning, where magnitudes are those of another
    task."""

    def make_scorer(self, run: Run, layers: list[Layer], pattern: Pattern) -> Scorer:
        """Sums over the steps of this run."""
        return _Movement(layers)


class _Movement(Scorer):
    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers
        self._sums = {layer.name: layer.weight.detach() * 0 for layer in layers}

    def observe(self, run: Run) -> None:
        for layer in self._layers:
            if layer.weight.grad is not None:
                self._sums[layer.name] -= layer.weight.detach() * layer.weight.grad

    def scores(self, layer: Layer) -> Tensor:
        # The first scores of a run are all alike: then magnitudes decide.
        sums = layer.matrix(self._sums[layer.name])
        return sums if bool(sums.any()) else layer.matrix().abs()

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self._sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, sums in state["sums"].items():
            self._sums[name].copy_(sums)
