"""Keep the zeros that are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from colonnade.sparsify.modifier import Action, Modifier

if TYPE_CHECKING:
    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class ConstantPruning(Modifier):
    """Hold the weights that are zero at `start` at zero, until `end` (None: for good).

    This is sparse transfer: a pruned model is trained on a new task with its masks frozen.
    """

    targets: tuple[str, ...] = ("prunable",)
    ignore: tuple[str, ...] = ()

    def initialize(self, run: Run) -> Action:
        """Find the layers."""
        from colonnade.sparsify.layers import find_layers

        layers = find_layers(run.model, self.targets, self.ignore)
        run.claim(self, [layer.name for layer in layers], "zeros")
        return _Hold(self, layers)


class _Hold(Action):
    def __init__(self, modifier: ConstantPruning, layers: list[Layer]) -> None:
        self._modifier = modifier
        self._layers = layers

    def before_step(self, run: Run) -> None:
        end = self._modifier.end
        if run.step == run.step_of(self._modifier.start):
            for layer in self._layers:
                run.masks.hold(layer.name, layer.weight != 0)
        if end is not None and run.step == run.step_of(end):
            for layer in self._layers:
                run.masks.release(layer.name)
