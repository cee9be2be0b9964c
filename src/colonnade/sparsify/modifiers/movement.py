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
    task.

    Gradients go straight through the masks: a pruned weight keeps its value, its sum moves on, and
    it comes back with that value when the sum is high again.
    """

    def make_scorer(self, run: Run, layers: list[Layer], pattern: Pattern) -> Scorer:
        """Sums over the steps of this run."""
        return _Movement(layers)


class _Movement(Scorer):
    def __init__(self, layers: list[Layer]) -> None:
        import torch

        self._layers = layers
        self._sums = {
            layer.name: torch.zeros_like(
                layer.weight, dtype=torch.promote_types(layer.weight.dtype, torch.float32)
            )
            for layer in layers
        }
        # Of pruned weights; zero where the model has the value.
        self._values = {layer.name: torch.zeros_like(layer.weight) for layer in layers}

    def observe(self, run: Run) -> None:
        for layer in self._layers:
            if layer.weight.grad is not None:
                self._sums[layer.name] -= self._whole(layer) * layer.weight.grad

    def scores(self, layer: Layer) -> Tensor:
        # The first scores of a run are all alike: then magnitudes decide.
        sums = layer.matrix(self._sums[layer.name])
        return sums if bool(sums.any()) else layer.matrix(self._whole(layer)).abs()

    def before_mask(self, layer: Layer, mask: Tensor) -> None:
        whole = self._whole(layer)
        self._values[layer.name] = whole.masked_fill(layer.in_shape(mask), 0.0)
        layer.weight.data.copy_(whole)

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self._sums), "values": dict(self._values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, sums in state["sums"].items():
            self._sums[name].copy_(sums)
        for name, values in state["values"].items():
            self._values[name].copy_(values)

    def _whole(self, layer: Layer) -> Tensor:
        """The weights as if none was pruned."""
        return layer.weight.detach() + self._values[layer.name]
