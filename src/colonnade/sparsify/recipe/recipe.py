"""The recipe as data."""

from __future__ import annotations

from dataclasses import dataclass

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import MOMENT, Modifier
from colonnade.sparsify.registry import modifier_name
from colonnade.sparsify.typed import MisfitError, typed

ROUNDING = 1e-9
"""By what share a moment may be beyond the end of its stage: sums of fractions are not exact."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Modifiers whose times count from the start of the stage; stages follow each other.

    `epochs` may be None in the last stage: it is then over with the last moment of its modifiers.
    """

    modifiers: tuple[Modifier, ...]
    name: str = ""
    epochs: float | None = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "epochs", typed(self.epochs, float | None))
        except MisfitError as error:
            raise RecipeError(f"epochs: {error.reason}") from None
        if self.epochs is not None and self.epochs <= 0:
            raise RecipeError(f"a stage of {self.epochs:g} epochs; expected more than 0")

    @property
    def length(self) -> float:
        """Epochs of the stage (0 if nothing says how many)."""
        if self.epochs is not None:
            return self.epochs
        moments = [one for modifier in self.modifiers for one in modifier.times(MOMENT).values()]
        return max(moments, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Stages in order. `unit` says what all its times count: epochs or optimizer steps.

    >>> from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
    >>> prune = GradualMagnitude(final_sparsity=0.9, end=4.0)
    >>> Recipe(stages=(Stage(modifiers=(prune,), epochs=6.0),)).length
    6.0
    """

    stages: tuple[Stage, ...]
    unit: str = "epochs"

    def __post_init__(self) -> None:
        if not any(stage.modifiers for stage in self.stages):
            raise RecipeError("the recipe has no modifiers")
        if self.unit not in ("epochs", "steps"):
            raise RecipeError(f"unit: expected epochs or steps, got {self.unit!r}")
        for stage in self.stages[:-1]:
            if stage.epochs is None:
                raise RecipeError(
                    f"stage {stage.name!r}: only the last stage may do without its number of epochs"
                )
        if self.stages[-1].epochs is None and not self.stages[-1].modifiers:
            raise RecipeError(
                f"stage {self.stages[-1].name!r}: a stage without modifiers needs its number of "
                "epochs"
            )
        for stage in self.stages:
            for modifier in stage.modifiers:
                check_times(modifier, stage, self.unit)

    @classmethod
    def of(cls, *modifiers: Modifier, epochs: float | None = None) -> Recipe:
        """A recipe of one stage."""
        return cls(stages=(Stage(modifiers=modifiers, epochs=epochs),))

    @property
    def length(self) -> float:
        """How long it takes, in its unit."""
        return sum(stage.length for stage in self.stages)

    def timeline(self, steps_per_epoch: int) -> tuple[Modifier, ...]:
        """All modifiers by their start, times in epochs of the whole run; later ones act last."""
        scale = 1.0 if self.unit == "epochs" else 1 / steps_per_epoch
        placed: list[Modifier] = []
        offset = 0.0
        for number, stage in enumerate(self.stages, start=1):
            stage_end = offset + stage.length * scale
            is_last = number == len(self.stages)
            for modifier in stage.modifiers:
                is_open = is_last and not (modifier.needs_end and stage.epochs is not None)
                placed.append(modifier.placed(offset, scale, None if is_open else stage_end))
            offset = stage_end
        return tuple(sorted(placed, key=lambda modifier: modifier.start))

    def num_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole run."""
        scale = steps_per_epoch if self.unit == "epochs" else 1
        return round(self.length * scale)


def check_times(modifier: Modifier, stage: Stage, unit: str) -> None:
    """Refuse what does not fit into a stage that has its number of epochs."""
    if stage.epochs is None:
        return
    name = modifier_name(modifier)
    for parameter, moment in modifier.times(MOMENT).items():
        if moment > stage.epochs * (1 + ROUNDING):
            called = f"stage {stage.name!r}" if stage.name else "the stage"
            raise RecipeError(
                f"expected at most {stage.epochs:g}, as {called} is {stage.epochs:g} {unit} long "
                f"and times count from its start; got {moment:g}",
                modifier=name,
                parameter=parameter,
            )
    try:
        # With an end, a modifier sees whether what it has to do fits before it.
        modifier.placed(0.0, 1.0, stage.epochs)
    except RecipeError as error:
        raise RecipeError(error.reason, modifier=name, parameter=error.parameter) from None
