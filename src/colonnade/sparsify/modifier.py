"""Modifiers: what a recipe asks for, and what then happens in every step of a run.

A modifier is a frozen dataclass of parameters. Building one checks them; it knows no model yet, and
its module loads without torch (imported inside functions, or for types only), so that recipes are
checked where torch is not installed. `initialize` makes the action: the state of a modifier in one
run, with the hooks that the session calls.

A new modifier is one file in `modifiers/` (or a package of its own), one line in `registry.py` and
one test.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from colonnade.errors import RecipeError
from colonnade.sparsify.typed import MisfitError, field_hints, typed

if TYPE_CHECKING:
    from torch import Tensor

    from colonnade.sparsify.run import Run

MOMENT = "moment"
DURATION = "duration"

Moment = Annotated[float, MOMENT]
"""A point of the timeline in epochs, from the start of the modifier's stage; may be fractional."""

Duration = Annotated[float, DURATION]
"""A length on the timeline in epochs."""


class Action:
    """A modifier at work in one run; every hook does nothing unless it is overridden.

    Hooks run without gradients, except `loss`. `run.step` counts optimizer steps, not batches.
    """

    def before_step(self, run: Run) -> None:
        """Before the first forward of step `run.step`: masks, rates and phases change here."""

    def before_forward(self, run: Run) -> None:
        """After the `before_step` of all actions: modules that one of them replaces are there."""

    def loss(self, run: Run, loss: Tensor, outputs: Any, batch: Any) -> Tensor:
        """The loss of one batch, before the backward; `outputs` and `batch` may be None."""
        del run, outputs, batch
        return loss

    def before_optimizer(self, run: Run) -> None:
        """All gradients of the step are there, unscaled; those of masked weights still are, too."""

    def after_optimizer(self, run: Run) -> None:
        """The optimizer has moved the weights; masks are applied after this hook."""

    def finalize(self, run: Run) -> None:
        """The run is complete: leave the model as it shall be exported."""

    def close(self) -> None:
        """Let go of the model, after `finalize` or without it: hooks on modules are removed."""

    def state_dict(self) -> dict[str, Any]:
        """What decides the future: tensors, plain values, and lists, tuples and dicts of these."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`.

        It comes after `initialize` and before the model's own state is loaded: an action that had
        changed the structure of the model does it again here.
        """


@dataclass(frozen=True, kw_only=True)
class Modifier:
    """Parameters of one modifier; it acts from `start` to `end` (None: to the end of its stage).

    Building one checks every field against its annotation: a value of another type is refused, 3 is
    also 3.0, and one text stands for a tuple of one.
    """

    needs_end: ClassVar[bool] = False
    """Whether nothing can be done without an end: an open one is then that of the last stage too.

    Others stay open there: what they hold is held for good.
    """

    start: Moment = 0.0
    end: Moment | None = None

    def __post_init__(self) -> None:
        self._check_types()
        if self.start < 0:
            raise RecipeError(f"expected 0 or more, got {self.start:g}", parameter="start")
        if self.end is not None and self.end < self.start:
            raise RecipeError(
                f"expected {self.start:g} (start) or more, got {self.end:g}", parameter="end"
            )

    def initialize(self, run: Run) -> Action:
        """The action for this run; refuses what does not fit the model with a RecipeError."""
        raise NotImplementedError

    def placed(self, offset: float, scale: float, stage_end: float | None) -> Modifier:
        """The same modifier on the timeline of the run.

        Times are multiplied by `scale` (epochs in a unit of the recipe), moments then moved by
        `offset`. An open end becomes `stage_end` (already on the timeline of the run).
        """
        moments, durations = self.times(MOMENT), self.times(DURATION)
        changes: dict[str, Any] = {name: value * scale for name, value in durations.items()}
        changes |= {name: value * scale + offset for name, value in moments.items()}
        if self.end is None and stage_end is not None:
            # A start that is the end of the stage may be above it by rounding.
            changes["end"] = max(stage_end, changes["start"])
        return dataclasses.replace(self, **changes)

    def times(self, kind: str) -> dict[str, float]:
        """The parameters that are moments, or durations, and set."""
        hints = field_hints(type(self))
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: value
            for name, value in given.items()
            if value is not None and time_kind(hints[name]) == kind
        }

    def _check_types(self) -> None:
        hints = field_hints(type(self))
        for field in dataclasses.fields(self):
            try:
                value = typed(getattr(self, field.name), hints[field.name])
            except MisfitError as error:
                raise RecipeError(error.reason, parameter=field.name) from None
            object.__setattr__(self, field.name, value)


def time_kind(hint: Any) -> str | None:
    """Whether a field with this annotation is a moment, a duration or no time at all.

    >>> time_kind(Moment | None), time_kind(Duration), time_kind(float)
    ('moment', 'duration', None)
    """
    if isinstance(hint, str):
        words = hint.replace("|", " ").split()
        found = [name.lower() for name in ("Moment", "Duration") if name in words]
    else:
        members = (hint, *typing.get_args(hint))
        marks = [mark for member in members for mark in getattr(member, "__metadata__", ())]
        found = [mark for mark in marks if mark in (MOMENT, DURATION)]
    return found[0] if found else None


def check_share(value: float, parameter: str) -> None:
    """Refuse a sparsity outside [0, 1)."""
    if not 0 <= value < 1:
        raise RecipeError(
            f"expected a share from 0 up to but without 1, got {value:g}", parameter=parameter
        )


def check_positive(modifier: Modifier, *parameters: str) -> None:
    """Refuse parameters that are zero or less."""
    for name in parameters:
        value = getattr(modifier, name)
        if not value > 0:
            raise RecipeError(f"expected more than 0, got {value:g}", parameter=name)
