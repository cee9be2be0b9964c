"""A recipe of another tool as one of ours; what has no counterpart is reported, never dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from colonnade.errors import RecipeError
from colonnade.sparsify.recipe.foreign.converters import CONVERTERS, HINTS
from colonnade.sparsify.recipe.foreign.fields import Fields, Note, plain_value
from colonnade.sparsify.recipe.foreign.parameters import Converted
from colonnade.sparsify.recipe.foreign.read import ForeignRecipe, ForeignStage, read_foreign
from colonnade.sparsify.recipe.read import read_recipe
from colonnade.sparsify.recipe.recipe import Recipe

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
    stages = [_convert_stage(stage, notes) for stage in foreign.stages]
    document: dict[str, Any] = {"version": 1}
    if foreign.variables:
        document["variables"] = _variables(foreign, notes)
    document |= _timeline(foreign, [stage for stage in stages if stage["modifiers"]], notes)
    notes.sort(key=lambda note: note.line)
    if not any(stage["modifiers"] for stage in stages):
        return Conversion("", None, tuple(notes))
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
    return Conversion(converted, recipe, tuple(notes))


def _convert_stage(stage: ForeignStage, notes: list[Note]) -> dict[str, Any]:
    epochs: Any = None
    modifiers: list[Any] = []
    for name, entry in stage.modifiers:
        fields = Fields(name, entry, notes)
        if name == EPOCH_RANGE:
            fields.expect("start_epoch", 0, 0.0)
            epochs = fields.take("end_epoch")
        else:
            modifiers += [_compact(*item) for item in _convert_modifier(name, fields)]
        fields.report_rest()
    is_oneshot = stage.run_type == "oneshot"
    if stage.run_type not in ("", "train"):
        text = _AT_ONCE if is_oneshot else f"{stage.run_type} is not kept"
        notes.append(Note(stage.line, f"{stage.name}.run_type", text))
    made = {"name": stage.name, "epochs": epochs, "modifiers": modifiers}
    return made | {"is_oneshot": is_oneshot}


def _convert_modifier(name: str, fields: Fields) -> Converted:
    converter = CONVERTERS.get(name)
    if converter is not None:
        return converter(fields)
    fields.note("", HINTS.get(name, "has no counterpart; the modifier is left out"))
    return []


def _compact(name: str, parameters: dict[str, Any]) -> Any:
    given = {key: value for key, value in parameters.items() if value is not None}
    return {name: given} if given else name


def _variables(foreign: ForeignRecipe, notes: list[Note]) -> dict[str, Any]:
    kept = {}
    for name, entry in foreign.variables.items():
        value = plain_value(entry)
        if type(value) in (int, float) or (isinstance(value, str) and value.startswith("$(")):
            kept[name] = value
        else:
            notes.append(Note(entry.line, name, f"is no number, and left out: {value!r}"))
    return kept


def _timeline(
    foreign: ForeignRecipe, stages: list[dict[str, Any]], notes: list[Note]
) -> dict[str, Any]:
    stages = _join_oneshot(stages)
    if len(stages) > 1 and not foreign.is_tagged:
        return {"stages": [_with_length(stage, stage is stages[-1]) for stage in stages]}
    if len(stages) > 1:
        names = ", ".join(stage["name"] for stage in stages)
        text = f"{names} are one timeline here, as their times count from the start of training"
        notes.append(Note(foreign.stages[1].line, "stages", text))
    lengths = [stage["epochs"] for stage in stages if stage["epochs"] is not None]
    merged: dict[str, Any] = {} if not lengths else {"epochs": _largest(lengths)}
    return merged | {"modifiers": [item for stage in stages for item in stage["modifiers"]]}


def _join_oneshot(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One-shot stages put in front of the next that trains; a last one gets an epoch, so that its
    modifiers act at all."""
    found: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    for stage in stages:
        kept = {key: value for key, value in stage.items() if key != "is_oneshot"}
        if stage["is_oneshot"]:
            waiting.append(kept)
            continue
        before = [item for each in waiting for item in each["modifiers"]]
        found.append(kept | {"modifiers": [*before, *kept["modifiers"]]})
        waiting = []
    if waiting:
        last = [item for each in waiting for item in each["modifiers"]]
        name = "_".join(each["name"] for each in waiting)
        found.append({"name": name, "epochs": 1.0 if found else None, "modifiers": last})
    return found


def _with_length(stage: dict[str, Any], is_last: bool) -> dict[str, Any]:
    epochs = stage["epochs"]
    if epochs is None and not is_last:
        ends = [
            parameters[key]
            for item in stage["modifiers"]
            if isinstance(item, dict)
            for parameters in item.values()
            for key in ("start", "end")
            if parameters.get(key)
        ]
        epochs = _largest(ends) if ends else 1.0
    return {key: value for key, value in (stage | {"epochs": epochs}).items() if value is not None}


def _largest(values: list[Any]) -> Any:
    if all(isinstance(value, int | float) for value in values):
        return max(values)
    bare = [str(v)[2:-1] if str(v).startswith("$(") else str(v) for v in values]
    return f"$(max({', '.join(bare)}))" if len(bare) > 1 else f"$({bare[0]})"
