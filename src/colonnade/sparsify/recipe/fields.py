"""From an entry of a recipe to a dataclass: each value checked against its field's type."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from colonnade.errors import RecipeError
from colonnade.sparsify.modifier import Modifier
from colonnade.sparsify.recipe.document import Entry

Built = TypeVar("Built", bound=Modifier)


def build_modifier(cls: type[Built], name: str, entry: Entry, source: str) -> Built:
    """The modifier that a mapping describes; what is wrong is an error with its line."""
    if not isinstance(entry.value, dict):
        raise RecipeError(
            f"expected parameters, got {entry.value!r}",
            source=source,
            line=entry.line,
            modifier=name,
        )
    lines = dict(entry.keys or {})
    hints = typing.get_type_hints(cls)
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
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _typed(entry, arguments[0], parameter)
    if origin in (typing.Union, types.UnionType):
        return _first_fitting(entry, arguments, parameter)
    if origin is typing.Literal:
        if entry.value in arguments:
            return entry.value
        raise _mismatch(entry, _described(hint), parameter)
    if origin is tuple:
        return _typed_tuple(entry, arguments, parameter)
    if origin is not None and issubclass(origin, Mapping):
        return _typed_mapping(entry, arguments[1], parameter)
    return _typed_scalar(entry, hint, parameter)


def _first_fitting(entry: Entry, hints: tuple[Any, ...], parameter: str) -> Any:
    for hint in hints:
        try:
            return _typed(entry, hint, parameter)
        except RecipeError:
            continue
    raise _mismatch(entry, " or ".join(_described(hint) for hint in hints), parameter)


def _typed_tuple(entry: Entry, arguments: tuple[Any, ...], parameter: str) -> tuple[Any, ...]:
    # One value stands for a list of one.
    items = entry.value if isinstance(entry.value, tuple) else (entry,)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_typed(item, arguments[0], parameter) for item in items)
    if len(items) != len(arguments):
        raise _mismatch(entry, f"a list of {len(arguments)}", parameter)
    return tuple(_typed(item, hint, parameter) for item, hint in zip(items, arguments, strict=True))


def _typed_mapping(entry: Entry, hint: Any, parameter: str) -> dict[str, Any]:
    if not isinstance(entry.value, dict):
        raise _mismatch(entry, "a mapping", parameter)
    return {key: _typed(item, hint, parameter) for key, item in entry.value.items()}


def _typed_scalar(entry: Entry, hint: Any, parameter: str) -> Any:
    value = entry.value
    if hint is float:
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
        raise _mismatch(entry, _described(hint), parameter)
    if hint is int and type(value) is float and value.is_integer():
        return int(value)
    if hint is Any or type(value) is hint:
        return entry.plain()
    raise _mismatch(entry, _described(hint), parameter)


_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _described(arguments[0])
    if origin is typing.Literal:
        return "one of " + ", ".join(str(value) for value in arguments)
    if origin is tuple:
        return "a list"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    return "null" if hint is type(None) else _WORDS.get(hint, str(hint))


def _mismatch(entry: Entry, expected: str, parameter: str) -> RecipeError:
    return RecipeError(
        f"expected {expected}, got {entry.plain()!r}", line=entry.line, parameter=parameter
    )
