"""Our own dialect: a YAML file to a Recipe.

    variables: {epochs: 10}
    stages:
      - name: prune
        epochs: $(epochs * 0.6)
        modifiers:
          - gradual_magnitude: {final_sparsity: 0.9, end: $(epochs * 0.5)}

A recipe of one stage may have `epochs` and `modifiers` at the top.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Modifier
from colonnade.sparsify.recipe.document import Entry, read_document
from colonnade.sparsify.recipe.expressions import Number
from colonnade.sparsify.recipe.fields import build_modifier
from colonnade.sparsify.recipe.recipe import Recipe, Stage, check_times
from colonnade.sparsify.recipe.variables import resolve_variables, substitute
from colonnade.sparsify.registry import modifier_class

NO_VARIABLES: Mapping[str, Number] = MappingProxyType({})

_TOP = ("version", "variables", "unit", "stages", "epochs", "modifiers")
_STAGE = ("name", "epochs", "modifiers")


def load_recipe(path: Path | str, variables: Mapping[str, Number] = NO_VARIABLES) -> Recipe:
    """The recipe in a file; `variables` replace those that it sets."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot read it: {error.strerror}", source=str(path)) from None
    except UnicodeDecodeError:
        raise RecipeError("is not UTF-8 text", source=str(path)) from None
    return read_recipe(text, variables, source=str(path))


def read_recipe(
    text: str, variables: Mapping[str, Number] = NO_VARIABLES, *, source: str = "recipe"
) -> Recipe:
    """The recipe in a text; `source` names it in errors.

    >>> recipe = read_recipe("modifiers: [{gradual_magnitude: {final_sparsity: 0.9, end: 4}}]")
    >>> recipe.stages[0].modifiers[0].final_sparsity
    0.9
    """
    document = read_document(text, source)
    top = _mapping(document, _TOP, source)
    _check_version(top, source)
    values = resolve_variables(_variables(top, source), variables, source)
    top = {
        key: substitute(entry, values, source) for key, entry in top.items() if key != "variables"
    }
    unit = _text(top, "unit", "epochs", source)
    try:
        return Recipe(stages=_stages(document, top, unit, source), unit=unit)
    except RecipeError as error:
        if error.source is not None:
            raise
        raise RecipeError(error.reason, source=source, line=document.line) from None


def _stages(document: Entry, top: Mapping[str, Entry], unit: str, source: str) -> tuple[Stage, ...]:
    if "stages" not in top:
        return (_stage(document, top, unit, source),)
    if "modifiers" in top or "epochs" in top:
        raise RecipeError(
            "stages, or epochs and modifiers at the top: not both",
            source=source,
            line=top["stages"].line,
        )
    return tuple(
        _stage(entry, _mapping(entry, _STAGE, source), unit, source)
        for entry in _list(top["stages"], "stages", source)
    )


def _stage(entry: Entry, keys: Mapping[str, Entry], unit: str, source: str) -> Stage:
    if "modifiers" not in keys:
        raise RecipeError("modifiers are needed", source=source, line=entry.line)
    items = _list(keys["modifiers"], "modifiers", source)
    modifiers = tuple(_modifier(item, source) for item in items)
    name = _text(keys, "name", "", source)
    epochs = keys.get("epochs")
    try:
        length = None if epochs is None else epochs.plain()
        stage = Stage(modifiers=modifiers, name=name, epochs=length)
    except RecipeError as error:
        line = entry.line if epochs is None else epochs.line
        raise RecipeError(error.reason, source=source, line=line) from None
    for item, modifier in zip(items, modifiers, strict=True):
        _check_times(item, modifier, stage, unit, source)
    return stage


def _check_times(item: Entry, modifier: Modifier, stage: Stage, unit: str, source: str) -> None:
    try:
        check_times(modifier, stage, unit)
    except RecipeError as error:
        lines = {"": item.line}
        if isinstance(item.value, dict):
            (parameters,) = item.value.values()
            lines |= parameters.keys or {}
        raise RecipeError(
            error.reason,
            source=source,
            line=lines.get(error.parameter or "", item.line),
            modifier=error.modifier,
            parameter=error.parameter,
        ) from None


def _modifier(entry: Entry, source: str) -> Modifier:
    if isinstance(entry.value, str):
        entry = Entry({entry.value: Entry({}, entry.line)}, entry.line)
    if entry.tag or not isinstance(entry.value, dict) or len(entry.value) != 1:
        raise RecipeError(
            "expected one modifier, as `- gradual_magnitude: {...}`; files of other tools are "
            "read by `colonnade recipe convert`",
            source=source,
            line=entry.line,
        )
    ((name, parameters),) = entry.value.items()
    if parameters.value is None:
        parameters = Entry({}, entry.line)
    try:
        cls = modifier_class(name)
    except RecipeError as error:
        raise RecipeError(error.reason, source=source, line=entry.line) from None
    return build_modifier(cls, name, parameters, source)


def _mapping(entry: Entry, known: Sequence[str], source: str) -> dict[str, Entry]:
    if not isinstance(entry.value, dict):
        raise RecipeError(
            f"expected a mapping with {', '.join(known)}", source=source, line=entry.line
        )
    for key in entry.value:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            line = (entry.keys or {}).get(key, entry.line)
            raise RecipeError(f"unknown key {key!r}; {hint}", source=source, line=line)
    return dict(entry.value)


def _list(entry: Entry, name: str, source: str) -> tuple[Entry, ...]:
    if not isinstance(entry.value, tuple):
        raise RecipeError(
            f"{name}: expected a list, got {entry.plain()!r}", source=source, line=entry.line
        )
    return entry.value


def _variables(top: Mapping[str, Entry], source: str) -> Mapping[str, Entry]:
    entry = top.get("variables")
    if entry is None or entry.value is None:
        return {}
    if not isinstance(entry.value, dict):
        raise RecipeError("variables: expected a mapping", source=source, line=entry.line)
    return entry.value


def _text(keys: Mapping[str, Entry], key: str, default: str, source: str) -> str:
    entry = keys.get(key)
    if entry is None or entry.value is None:
        return default
    if isinstance(entry.value, dict | tuple):
        raise RecipeError(
            f"{key}: expected a text, got {entry.plain()!r}", source=source, line=entry.line
        )
    return str(entry.value)


def _check_version(top: Mapping[str, Entry], source: str) -> None:
    entry = top.get("version")
    if entry is not None and entry.value != 1:
        raise RecipeError(
            f"version: this colonnade reads version 1, got {entry.plain()!r}",
            source=source,
            line=entry.line,
        )
