"""How long the stages of a foreign recipe are, and that nothing is due after their end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import MOMENT, time_kind
from colonnade.sparsify.recipe.expressions import Number, evaluate
from colonnade.sparsify.recipe.foreign.fields import Note
from colonnade.sparsify.registry import modifier_class
from colonnade.sparsify.typed import field_hints


@dataclass(frozen=True)
class ConvertedModifier:
    """One of ours, and the line of what it was."""

    name: str
    parameters: Mapping[str, Any]
    line: int

    def document(self) -> Any:
        """As in a recipe."""
        given = {key: value for key, value in self.parameters.items() if value is not None}
        return {self.name: given} if given else self.name


@dataclass(frozen=True)
class ConvertedStage:
    """A stage whose modifiers are ours."""

    name: str
    line: int
    is_oneshot: bool
    epochs: Any
    """None: it does not say."""
    times: tuple[Any, ...]
    """When its modifiers started and ended."""
    modifiers: tuple[ConvertedModifier, ...]

    def document(self) -> dict[str, Any]:
        """As in a recipe."""
        length = {} if self.epochs is None else {"epochs": self.epochs}
        return length | {"modifiers": [modifier.document() for modifier in self.modifiers]}


class Timeline:
    """Puts stages together; `variables` are what expressions in times use."""

    def __init__(self, variables: Mapping[str, Number], notes: list[Note]) -> None:
        self._variables = variables
        self._notes = notes

    def merged(self, stages: Sequence[ConvertedStage]) -> dict[str, Any]:
        """One stage of all, whose times count from the start of training."""
        lengths = [stage.epochs for stage in stages if stage.epochs is not None]
        whole = replace(_joined(stages), name="", epochs=_largest(lengths) if lengths else None)
        return self._fitted(whole).document()

    def staged(self, stages: Sequence[ConvertedStage]) -> dict[str, Any]:
        """Stages after each other; all but the last have a length."""
        *early, last = self._join_oneshot(stages)
        fitted = [self._fitted(self._with_length(stage)) for stage in early]
        fitted.append(self._fitted(last))
        if len(fitted) == 1:
            return fitted[0].document()
        return {"stages": [{"name": stage.name} | stage.document() for stage in fitted]}

    def _join_oneshot(self, stages: Sequence[ConvertedStage]) -> list[ConvertedStage]:
        """One-shot stages put in front of the next that trains; a last one gets an epoch, so that
        its modifiers act at all."""
        found: list[ConvertedStage] = []
        waiting: list[ConvertedStage] = []
        for stage in stages:
            waiting.append(stage)
            if not stage.is_oneshot:
                found.append(replace(_joined(waiting), name=stage.name, epochs=stage.epochs))
                waiting = []
        if waiting:
            last = replace(_joined(waiting), epochs=None)
            found.append(self._one_epoch(last) if found else last)
        return found

    def _with_length(self, stage: ConvertedStage) -> ConvertedStage:
        if stage.epochs is not None:
            return stage
        times = [time for time in stage.times if self._number(time)]
        return replace(stage, epochs=_largest(times)) if times else self._one_epoch(stage)

    def _one_epoch(self, stage: ConvertedStage) -> ConvertedStage:
        text = "does not say how long it trains: `epochs: 1.0` is a guess, set your own"
        self._notes.append(Note(stage.line, stage.name, text))
        return replace(stage, epochs=1.0)

    def _fitted(self, stage: ConvertedStage) -> ConvertedStage:
        """What is due after the end of the stage, seen to: other tools train as long as their
        modifiers start and end, whatever the range of epochs says; other moments never come."""
        length = self._number(stage.epochs)
        if length is None:
            return stage
        beyond = [time for time in stage.times if (self._number(time) or 0.0) > length]
        if beyond:
            stage = replace(stage, epochs=_largest([stage.epochs, *beyond]))
            text = f"modifiers go on after {length:g} epochs, which makes it {stage.epochs} epochs"
            self._notes.append(Note(stage.line, stage.name or "epochs", text))
        kept = [self._within(modifier, stage.epochs) for modifier in stage.modifiers]
        return replace(stage, modifiers=tuple(one for one in kept if one is not None))

    def _within(self, modifier: ConvertedModifier, epochs: Any) -> ConvertedModifier | None:
        length = self._number(epochs)
        assert length is not None
        hints = field_hints(modifier_class(modifier.name))
        changes: dict[str, Any] = {}
        for key, value in modifier.parameters.items():
            moment = self._number(value)
            if time_kind(hints.get(key)) != MOMENT or moment is None or moment <= length:
                continue
            if key == "start":
                text = f"would start at {moment:g}, after the end ({length:g}): it is left out"
                self._notes.append(Note(modifier.line, modifier.name, text))
                return None
            text = f"{moment:g} is after the end, and {length:g} here"
            self._notes.append(Note(modifier.line, f"{modifier.name}.{key}", text))
            changes[key] = epochs
        return replace(modifier, parameters={**modifier.parameters, **changes})

    def _number(self, value: Any) -> float | None:
        if isinstance(value, str) and value.startswith("$("):
            try:
                return float(evaluate(value[2:-1], self._variables))
            except RecipeError:  # the reader of what it becomes reports it
                return None
        return float(value) if isinstance(value, int | float) else None


def _joined(stages: Sequence[ConvertedStage]) -> ConvertedStage:
    """All that is in `stages`, at the line of the last."""
    return replace(
        stages[-1],
        name="_".join(stage.name for stage in stages),
        times=tuple(time for stage in stages for time in stage.times),
        modifiers=tuple(modifier for stage in stages for modifier in stage.modifiers),
    )


def _largest(values: Sequence[Any]) -> Any:
    if all(isinstance(value, int | float) for value in values):
        return max(values)
    bare = dict.fromkeys(str(v)[2:-1] if str(v).startswith("$(") else str(v) for v in values)
    return f"$(max({', '.join(bare)}))" if len(bare) > 1 else f"$({next(iter(bare))})"
