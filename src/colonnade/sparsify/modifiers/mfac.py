"""Optimal brain surgeon with the gradients of the last steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colonnade.sparsify.modifier import check_positive
from colonnade.sparsify.modifiers.gradual import GradualPruning, Scorer
from colonnade.sparsify.pattern import Pattern

if TYPE_CHECKING:
    from torch import Tensor

    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class MFACPruning(GradualPruning):
    """As `obs`, without a matrix: the Fisher of a block is held as the last `num_grads` gradients
    of training itself (M-FAC, Frantar et al. 2021, arXiv 2107.03356), so blocks may be long.

    Memory is `num_grads` floats a weight.
    """

    num_grads: int = 64
    damping: float = 1e-5
    fisher_block: int = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "num_grads", "damping", "fisher_block")

    def make_scorer(self, run: Run, layers: list[Layer], pattern: Pattern) -> Scorer:
        """The gradients of this run."""
        return _LastGradients(self, layers)


class _LastGradients(Scorer):
    def __init__(self, modifier: MFACPruning, layers: list[Layer]) -> None:
        self._modifier = modifier
        self._layers = layers
        self._gradients: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}

    def observe(self, run: Run) -> None:
        for layer in self._layers:
            if layer.weight.grad is None:
                continue
            kept = self._gradients[layer.name]
            kept.append(layer.matrix(layer.weight.grad.detach().clone()))
            del kept[: -self._modifier.num_grads]

    def scores(self, layer: Layer) -> Tensor:
        from colonnade.sparsify.fisher import costs_by_gradients

        if not self._gradients[layer.name]:
            return layer.matrix().abs()
        return costs_by_gradients(layer.matrix(), self._stack(layer), self._modifier.damping)

    def before_mask(self, layer: Layer, mask: Tensor) -> None:
        from colonnade.sparsify.fisher import repair_by_gradients

        if self._gradients[layer.name]:
            gradients, damping = self._stack(layer), self._modifier.damping
            repaired = repair_by_gradients(layer.matrix(), mask, gradients, damping)
            layer.weight.data.copy_(layer.in_shape(repaired))

    def _stack(self, layer: Layer) -> Tensor:
        from colonnade.sparsify.fisher import in_blocks

        gradients = self._gradients[layer.name]
        return in_blocks(gradients, self._modifier.fisher_block)

    def state_dict(self) -> dict[str, Any]:
        return {"gradients": {name: list(kept) for name, kept in self._gradients.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, kept in state["gradients"].items():
            self._gradients[name] = list(kept)
