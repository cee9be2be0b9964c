"""A sparse forward, and a backward that is a little less sparse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Modifier, check_share

if TYPE_CHECKING:
    from torch import Tensor

    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class TopKAST(Modifier):
    """The forward uses the largest weights of each layer, the optimizer moves those and the next
    largest (Jayakumar et al. 2020, arXiv 2106.03517): a weight can grow until it is used.

    All weights are kept beside the model until `end`, when those in use are all that is left.
    `decay` pulls weights in use towards zero, those that wait decay / (1 - forward_sparsity).
    """

    targets: tuple[str, ...] = ("prunable",)
    ignore: tuple[str, ...] = ()
    forward_sparsity: float
    backward_sparsity: float
    decay: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.forward_sparsity, "forward_sparsity")
        check_share(self.backward_sparsity, "backward_sparsity")
        if self.backward_sparsity > self.forward_sparsity:
            raise RecipeError(
                f"expected at most {self.forward_sparsity:g} (forward_sparsity), got "
                f"{self.backward_sparsity:g}",
                parameter="backward_sparsity",
            )

    def initialize(self, run: Run) -> Action:
        """Find the layers."""
        from colonnade.sparsify.layers import find_layers

        layers = find_layers(run.model, self.targets, self.ignore)
        run.claim(self, [layer.name for layer in layers], "zeros", "values")
        return _Masters(self, layers)


class _Masters(Action):
    """Between steps the model has the weights in use; during the optimizer's step it has all."""

    def __init__(self, modifier: TopKAST, layers: list[Layer]) -> None:
        self._modifier = modifier
        self._layers = layers
        self._all: dict[str, Tensor] = {}

    def before_step(self, run: Run) -> None:
        if run.step == run.step_of(self._modifier.start):
            self._all = {layer.name: layer.weight.detach().clone() for layer in self._layers}
            for layer in self._layers:
                self._use_largest(layer)
        end = self._modifier.end
        if end is not None and run.step == run.step_of(end):
            self._finish(run)

    def before_optimizer(self, run: Run) -> None:
        for layer in self._layers:
            if layer.name not in self._all:
                continue
            weights = self._all[layer.name]
            used = self._mask(weights, self._modifier.forward_sparsity)
            moves = self._mask(weights, self._modifier.backward_sparsity)
            layer.weight.copy_(weights)
            if layer.weight.grad is not None:
                density = 1 - self._modifier.forward_sparsity
                pull = self._modifier.decay * weights
                layer.weight.grad += pull * used + pull * (moves & ~used) / density
                layer.weight.grad.masked_fill_(~moves, 0.0)

    def after_optimizer(self, run: Run) -> None:
        del run
        for layer in self._layers:
            if layer.name not in self._all:
                continue
            weights = self._all[layer.name]
            # Weight decay and momentum of the optimizer do not count beyond the backward set.
            moves = self._mask(weights, self._modifier.backward_sparsity)
            self._all[layer.name] = layer.weight.detach().clone().where(moves, weights)
            self._use_largest(layer)

    def finalize(self, run: Run) -> None:
        self._finish(run)

    def state_dict(self) -> dict[str, Any]:
        return {"all": dict(self._all)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        devices = {layer.name: layer.weight.device for layer in self._layers}
        self._all = {name: saved.to(devices[name]) for name, saved in state["all"].items()}

    def _finish(self, run: Run) -> None:
        for layer in self._layers:
            if layer.name in self._all:
                used = self._mask(self._all.pop(layer.name), self._modifier.forward_sparsity)
                run.masks.hold(layer.name, used)

    def _use_largest(self, layer: Layer) -> None:
        weights = self._all[layer.name]
        used = self._mask(weights, self._modifier.forward_sparsity)
        layer.weight.copy_(weights.masked_fill(~used, 0.0))

    @staticmethod
    def _mask(weights: Tensor, sparsity: float) -> Tensor:
        from colonnade.sparsify.groups import keep_best

        flat = weights.abs().flatten()
        return keep_best(flat, flat.numel() - round(sparsity * flat.numel())).reshape(weights.shape)
