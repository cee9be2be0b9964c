"""One value of the optimizer's parameter groups from a moment on; modifiers name which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Action, Modifier

if TYPE_CHECKING:
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class SetGroupValue(Modifier):
    """Set `key` of all parameter groups from `start` on.

    Of several that act at once, the one that starts last wins.
    """

    key: ClassVar[str]
    value: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value < 0:
            raise RecipeError(f"expected 0 or more, got {self.value:g}", parameter="value")

    def initialize(self, run: Run) -> Action:
        """The value of this run."""
        del run
        return _Set(self)


class _Set(Action):
    def __init__(self, modifier: SetGroupValue) -> None:
        self._modifier = modifier

    def before_step(self, run: Run) -> None:
        # In every step: schedulers of the user's would set their own.
        if run.step >= run.step_of(self._modifier.start):
            for group in run.optimizer.param_groups:
                group[self._modifier.key] = self._modifier.value
