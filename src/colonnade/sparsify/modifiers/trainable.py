"""Freeze parameters, or let them train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Modifier

if TYPE_CHECKING:
    from torch import nn

    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class Trainable(Modifier):
    """Set whether `targets` get gradients from `start` to `end`; then they are as they were.

    Targets are "all", names of parameters or modules, classes, or "re:" patterns; biases count.
    With several processes a frozen parameter has a gradient, which is dropped: for DDP waits for it.
    """

    targets: tuple[str, ...] = ("all",)
    value: bool = True

    def initialize(self, run: Run) -> Action:
        """Find the parameters."""
        from colonnade.sparsify import ranks
        from colonnade.sparsify.layers import find_parameters

        found = find_parameters(run.model, self.targets)
        if ranks.is_distributed():
            unknown = [name for name, one in found if self.value and not one.requires_grad]
            if unknown:
                raise RecipeError(
                    f"{unknown[0]} was frozen when DDP took the model, which does not gather its "
                    "gradient: let it train before you wrap the model, and freeze it by a recipe",
                    parameter="targets",
                )
            return _Drop(self, [parameter for _, parameter in found])
        return _Switch(self, [parameter for _, parameter in found])


class _Drop(Action):
    """Freezes by dropping gradients."""

    def __init__(self, modifier: Trainable, parameters: list[nn.Parameter]) -> None:
        self._modifier = modifier
        self._parameters = parameters

    def before_optimizer(self, run: Run) -> None:
        start, end = self._modifier.start, self._modifier.end
        is_over = end is not None and run.step >= run.step_of(end)
        if self._modifier.value or is_over or run.step < run.step_of(start):
            return
        for parameter in self._parameters:
            parameter.grad = None


class _Switch(Action):
    def __init__(self, modifier: Trainable, parameters: list[nn.Parameter]) -> None:
        self._modifier = modifier
        self._parameters = parameters
        self._before = [parameter.requires_grad for parameter in parameters]

    def before_step(self, run: Run) -> None:
        # Set in every step rather than once: a resumed run needs no state.
        end = self._modifier.end
        if run.step < run.step_of(self._modifier.start):
            return
        is_over = end is not None and run.step >= run.step_of(end)
        for parameter, before in zip(self._parameters, self._before, strict=True):
            value = before if is_over else self._modifier.value
            if parameter.requires_grad != value:
                parameter.requires_grad_(value)
                if not value:
                    parameter.grad = None

    def finalize(self, run: Run) -> None:
        del run
        for parameter, before in zip(self._parameters, self._before, strict=True):
            parameter.requires_grad_(before)
