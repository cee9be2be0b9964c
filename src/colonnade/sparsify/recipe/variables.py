"""Variables of a recipe: `$(...)` stands for the value of an arithmetic expression."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from colonnade.errors import RecipeError
from colonnade.sparsify.recipe.document import Entry
from colonnade.sparsify.recipe.expressions import Number, evaluate, names_in

_OPEN = "$("


def resolve_variables(
    entries: Mapping[str, Entry], given: Mapping[str, Number], source: str
) -> dict[str, Number]:
    """The variables' values; `given` ones replace those of the recipe. They may use each other."""
    unknown = sorted(given.keys() - entries.keys())
    if unknown:
        raise RecipeError(
            f"unknown variable {unknown[0]!r}; the recipe has: {', '.join(entries) or 'none'}",
            source=source,
        )
    values: dict[str, Number] = dict(given)
    waiting = {name: entry for name, entry in entries.items() if name not in given}
    while waiting:
        ready = [name for name, entry in waiting.items() if not _needs(entry) & waiting.keys()]
        if not ready:
            name, entry = next(iter(waiting.items()))
            raise RecipeError(f"{name!r} needs itself", source=source, line=entry.line)
        for name in ready:
            values[name] = _number(name, substitute(waiting.pop(name), values, source), source)
    return values


def substitute(entry: Entry, variables: Mapping[str, Number], source: str) -> Entry:
    """The tree with every `$(...)` replaced; a text that is nothing else becomes a number."""
    if isinstance(entry.value, dict):
        items = {key: substitute(item, variables, source) for key, item in entry.value.items()}
        return replace(entry, value=items)
    if isinstance(entry.value, tuple):
        return replace(
            entry, value=tuple(substitute(item, variables, source) for item in entry.value)
        )
    if not isinstance(entry.value, str) or _OPEN not in entry.value:
        return entry
    try:
        return replace(entry, value=_expand(entry.value, variables))
    except RecipeError as error:
        raise RecipeError(error.reason, source=source, line=entry.line) from None


def _expand(text: str, variables: Mapping[str, Number]) -> str | Number:
    parts: list[str] = []
    rest = text
    while _OPEN in rest:
        before, _, tail = rest.partition(_OPEN)
        inside, rest = _split_at_close(tail, text)
        value = evaluate(inside, variables)
        if not (parts or before or rest):
            return value
        parts += [before, f"{value:g}" if isinstance(value, float) else str(value)]
    return "".join(parts) + rest


def _split_at_close(text: str, whole: str) -> tuple[str, str]:
    depth = 1
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[:i], text[i + 1 :]
    raise RecipeError(f"{whole!r}: '$(' is not closed")


def _needs(entry: Entry) -> set[str]:
    found = (
        re.fullmatch(r"\$\((.*)\)", entry.value.strip()) if isinstance(entry.value, str) else None
    )
    return names_in(found[1]) if found else set()


def _number(name: str, entry: Entry, source: str) -> Number:
    value = entry.value
    if type(value) not in (int, float):
        raise RecipeError(
            f"variable {name!r}: expected a number or $(an expression), got {value!r}",
            source=source,
            line=entry.line,
        )
    number: Number = value
    return number
