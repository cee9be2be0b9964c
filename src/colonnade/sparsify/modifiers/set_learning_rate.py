"""One learning rate from a moment on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Modifier

if TYPE_CHECKING:
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class SetLearningRate(Modifier):
    """Set the learning rate of all parameter groups from `start` on.

    Of several that act at once, the one that starts last wins.
    """

    value: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value < 0:
            raise RecipeError(f"expected 0 or more, got {self.value:g}", parameter="value")

    def initialize(self, run: Run) -> Action:
        """The rate of this run."""
        del run
        return _Set(self)


class _Set(Action):
    def __init__(self, modifier: SetLearningRate) -> None:
        self._modifier = modifier

    def before_step(self, run: Run) -> None:
        # In every step: schedulers of the user's would set their own.
        if run.step >= run.step_of(self._modifier.start):
            for group in run.optimizer.param_groups:
                group["lr"] = self._modifier.value
