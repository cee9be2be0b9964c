"""The recipe as data."""

from __future__ import annotations

from dataclasses import dataclass

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Modifier


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Modifiers whose times count from the start of the stage; stages follow each other.

    `epochs` may be None in the last stage: it is as long as its modifiers need.
    """

    modifiers: tuple[Modifier, ...]
    name: str = ""
    epochs: float | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs <= 0:
            raise RecipeError(f"a stage of {self.epochs:g} epochs; expected more than 0")

    @property
    def length(self) -> float:
        """Epochs of the stage (0 if nothing says how many)."""
        if self.epochs is not None:
            return self.epochs
        return max(
            [end for modifier in self.modifiers for end in (modifier.start, modifier.end or 0)]
        )


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
        for stage in self.stages:
            stage_end = offset + stage.length * scale
            open_end = None if stage is self.stages[-1] else stage_end
            placed += [modifier.placed(offset, scale, open_end) for modifier in stage.modifiers]
            offset = stage_end
        return tuple(sorted(placed, key=lambda modifier: modifier.start))

    def num_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole run."""
        scale = steps_per_epoch if self.unit == "epochs" else 1
        return round(self.length * scale)
