"""From an entry of a recipe to a dataclass: each value checked against its field's type."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, TypeVar

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Modifier
from colonnade.sparsify.recipe.document import Entry
from colonnade.sparsify.typed import MisfitError, field_hints, typed

Built = TypeVar("Built", bound=Modifier)


def build_modifier(cls: type[Built], name: str, entry: Entry, source: str) -> Built:
    """The modifier that a mapping describes; what is wrong is an error with its line."""
    if not isinstance(entry.value, dict):
        raise RecipeError(
            f"expected parameters, got {entry.plain()!r}",
            source=source,
            line=entry.line,
            modifier=name,
        )
    lines = dict(entry.keys or {})
    hints = field_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    try:
        for key, item in entry.value.items():
            if key not in fields:
                raise RecipeError(_unknown(key, list(fields)), parameter=key)
            lines[key] = item.line if lines.get(key) is None else lines[key]
            values[key] = _typed(item, hints[key], key)
        for field in fields.values():
            if field.name not in values and _is_required(field):
                raise RecipeError("is needed", parameter=field.name)
        return cls(**values)
    except RecipeError as error:
        line = lines.get(error.parameter or "", entry.line) if error.line is None else error.line
        raise RecipeError(
            error.reason, source=source, line=line, modifier=name, parameter=error.parameter
        ) from None


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"unknown parameter; {hint}"


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _typed(entry: Entry, hint: Any, parameter: str) -> Any:
    try:
        return typed(entry.plain(), hint)
    except MisfitError as error:
        line = _at(entry, error.path).line
        raise RecipeError(error.reason, line=line, parameter=parameter) from None


def _at(entry: Entry, path: tuple[Any, ...]) -> Entry:
    for place in path:
        # One value may stand for a list of one.
        entry = entry.value[place] if isinstance(entry.value, tuple | dict) else entry
    return entry
