"""Weights as powers, so that small ones stay small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Modifier

if TYPE_CHECKING:
    from torch import Tensor

    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class Powerpropagation(Modifier):
    """Train v with weight = v |v|^(alpha - 1) (Schwarz et al. 2021, arXiv 2110.00296): the larger a
    weight the faster it moves, and most stay near zero, where they can be pruned.

    The model always has the weights; the optimizer moves v. The function of the model does not
    change at `start`, nor at `end`. Put it before the modifiers that prune; those that keep weights
    of their own (nm_flow, top_kast) do not go with it.
    """

    targets: tuple[str, ...] = ("prunable",)
    ignore: tuple[str, ...] = ()
    alpha: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.alpha <= 10:
            raise RecipeError(f"expected 1 to 10, got {self.alpha:g}", parameter="alpha")

    def initialize(self, run: Run) -> Action:
        """Find the layers."""
        from colonnade.sparsify.layers import find_layers

        layers = find_layers(run.model, self.targets, self.ignore)
        run.claim(self, [layer.name for layer in layers], "values")
        return _Roots(self.alpha, self, layers)


class _Roots(Action):
    def __init__(self, alpha: float, modifier: Powerpropagation, layers: list[Layer]) -> None:
        self._alpha = alpha
        self._modifier = modifier
        self._layers = layers
        self._roots: dict[str, Tensor] = {}

    def before_step(self, run: Run) -> None:
        end = self._modifier.end
        if run.step == run.step_of(self._modifier.start):
            self._roots = {
                layer.name: _power(layer.weight.detach(), 1 / self._alpha) for layer in self._layers
            }
        if end is not None and run.step == run.step_of(end):
            self._roots = {}

    def before_optimizer(self, run: Run) -> None:
        for layer in self._layers:
            if layer.name not in self._roots:
                continue
            # Masks and repairs of other modifiers have moved the weight: its root follows.
            changed = _power(self._roots[layer.name], self._alpha) != layer.weight.detach()
            root = _power(layer.weight.detach(), 1 / self._alpha).where(
                changed, self._roots[layer.name]
            )
            if layer.weight.grad is not None:
                layer.weight.grad *= self._alpha * root.abs() ** (self._alpha - 1)
            layer.weight.data.copy_(root)

    def after_optimizer(self, run: Run) -> None:
        for layer in self._layers:
            if layer.name in self._roots:
                self._roots[layer.name] = layer.weight.detach().clone()
                layer.weight.data.copy_(_power(layer.weight.detach(), self._alpha))

    def state_dict(self) -> dict[str, Any]:
        return {"roots": dict(self._roots)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        devices = {layer.name: layer.weight.device for layer in self._layers}
        self._roots = {name: saved.to(devices[name]) for name, saved in state["roots"].items()}


def _power(values: Tensor, exponent: float) -> Tensor:
    return values.sign() * values.abs() ** exponent
