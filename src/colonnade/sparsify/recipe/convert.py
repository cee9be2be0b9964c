"""A recipe of another tool as one of ours; what has no counterpart is reported, never dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from colonnade.errors import RecipeError
from colonnade.sparsify.recipe.expressions import Number
from colonnade.sparsify.recipe.foreign.converters import CONVERTERS, HINTS
from colonnade.sparsify.recipe.foreign.fields import Fields, Note
from colonnade.sparsify.recipe.foreign.parameters import Converted
from colonnade.sparsify.recipe.foreign.read import ForeignRecipe, ForeignStage, read_foreign
from colonnade.sparsify.recipe.foreign.timeline import (
    ConvertedModifier,
    ConvertedStage,
    Timeline,
)
from colonnade.sparsify.recipe.foreign.variables import Variables
from colonnade.sparsify.recipe.read import read_recipe
from colonnade.sparsify.recipe.recipe import Recipe
from colonnade.sparsify.recipe.variables import resolve_variables

EPOCH_RANGE = "EpochRangeModifier"
_AT_ONCE = (
    "oneshot takes no time: its modifiers act at the start of the stage that follows, calibrated on "
    "the session's sample_losses; without training, use `colonnade sparsify oneshot`"
)


@dataclass(frozen=True)
class Conversion:
    """Our recipe as text and as object (None if nothing is left of it), and what to know."""

    text: str
    recipe: Recipe | None
    notes: tuple[Note, ...]


def convert_recipe(text: str, source: str = "recipe") -> Conversion:
    """Convert a recipe of SparseML (both dialects) or llm-compressor.

    >>> conversion = convert_recipe("modifiers: [!ConstantPruningModifier {params: __ALL__}]")
    >>> print(conversion.text.rstrip())
    version: 1
    modifiers:
    - constant_pruning:
        targets:
        - prunable
    """
    foreign = read_foreign(text, source)
    notes = list(foreign.notes)
    variables = Variables(foreign.variables, source)
    stages = _convert_stages(foreign, variables, notes)
    notes += variables.notes()
    if not any(stage.modifiers for stage in stages):
        return Conversion("", None, _sorted(notes))
    document: dict[str, Any] = {"version": 1}
    if variables.numbers:
        document["variables"] = {name: one.value for name, one in variables.numbers.items()}
    document |= _timeline(foreign, stages, resolve_variables(variables.numbers, {}, source), notes)
    converted = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    try:
        recipe = read_recipe(converted, source=source)
    except RecipeError as error:
        raise RecipeError(
            f"what it converts to is not a recipe: {error.reason}; the conversion:\n{converted}",
            source=source,
            modifier=error.modifier,
            parameter=error.parameter,
        ) from None
    return Conversion(converted, recipe, _sorted(notes))


def _sorted(notes: list[Note]) -> tuple[Note, ...]:
    return tuple(sorted(notes, key=lambda note: note.line))


def _convert_stages(
    foreign: ForeignRecipe, variables: Variables, notes: list[Note]
) -> list[ConvertedStage]:
    filled = [
        [(name, variables.put_in(entry)) for name, entry in stage.modifiers]
        for stage in foreign.stages
    ]
    everything = [item for items in filled for item in items]
    found = []
    for stage, items in zip(foreign.stages, filled, strict=True):
        epochs: Any = None
        times: list[Any] = []
        modifiers: list[ConvertedModifier] = []
        for name, entry in items:
            fields = Fields(name, entry, notes, everything)
            if name == EPOCH_RANGE:
                fields.expect("start_epoch", 0, 0.0)
                epochs = fields.take("end_epoch")
            else:
                times += fields.times()
                modifiers += [
                    ConvertedModifier(*item, entry.line) for item in _convert_modifier(name, fields)
                ]
            fields.report_rest()
        is_oneshot = stage.run_type == "oneshot"
        _report_run_type(stage, notes)
        found.append(ConvertedStage(
            stage.name, stage.line, is_oneshot, epochs, tuple(times), tuple(modifiers)
        ))  # fmt: skip
    return found


def _report_run_type(stage: ForeignStage, notes: list[Note]) -> None:
    if stage.run_type not in ("", "train"):
        text = _AT_ONCE if stage.run_type == "oneshot" else f"{stage.run_type} is not kept"
        notes.append(Note(stage.line, f"{stage.name}.run_type", text))


def _convert_modifier(name: str, fields: Fields) -> Converted:
    converter = CONVERTERS.get(name)
    if converter is not None:
        return converter(fields)
    fields.note("", HINTS.get(name, "has no counterpart; the modifier is left out"))
    return []


def _timeline(
    foreign: ForeignRecipe,
    stages: list[ConvertedStage],
    values: Mapping[str, Number],
    notes: list[Note],
) -> dict[str, Any]:
    timeline = Timeline(values, notes)
    full = [stage for stage in stages if stage.modifiers]
    if not foreign.is_tagged:
        return timeline.staged(full)
    if len(full) > 1:
        names = ", ".join(stage.name for stage in full)
        text = f"{names} are one timeline here, as their times count from the start of training"
        notes.append(Note(foreign.stages[1].line, "stages", text))
    return timeline.merged(stages)
