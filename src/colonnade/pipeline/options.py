"""Options of a task: a mapping (keywords, YAML) becomes the task's frozen dataclass."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from colonnade.errors import InputError

Options = TypeVar("Options")


def read_options(kind: type[Options], given: Mapping[str, object], where: str) -> Options:
    """The dataclass `kind` with the given values; InputError names the key, and what it takes."""
    hints = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            raise InputError(f"{where}: unknown option {key!r}; {near_match(key, known)}")
    made = {key: _value(hints[key], value, f"{where}: {key}") for key, value in given.items()}
    return kind(**made)


def near_match(word: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown word: what may be meant, and what there is."""
    close = difflib.get_close_matches(word, known, 1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}it knows {', '.join(known) or 'none'}"


def _value(hint: Any, value: object, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _one_of(get_args(hint), value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise InputError(f"{where}={value!r}; it is one of {', '.join(get_args(hint))}")
        return value
    if origin is tuple:
        return _tuple(get_args(hint), value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return read_options(hint, value, where)
    if _fits(hint, value):
        return float(value) if hint is float else value  # type: ignore[arg-type]
    raise InputError(f"{where}={value!r}; expected {_words(hint)}, got {type(value).__name__}")


def _one_of(hints: tuple[Any, ...], value: object, where: str) -> Any:
    reasons = []
    for hint in hints:
        try:
            return _value(hint, value, where)
        except InputError as error:
            reasons.append(error)
    raise reasons[0]


def _tuple(hints: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InputError(f"{where}={value!r}; expected a list")
    each = [hints[0]] * len(value) if hints[-1] is Ellipsis else list(hints)
    if len(each) != len(value):
        raise InputError(f"{where}={value!r}; expected {len(each)} values, got {len(value)}")
    return tuple(
        _value(hint, v, f"{where}[{i}]")
        for i, (hint, v) in enumerate(zip(each, value, strict=True))
    )


def _fits(hint: Any, value: object) -> bool:
    if hint is Any or hint is object:
        return True
    if hint is type(None):
        return value is None
    if get_origin(hint) is Callable or get_origin(hint) is not None:
        return callable(value) if get_origin(hint) in (Callable, type(Callable)) else True
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float) if hint is float else isinstance(value, hint)


def _words(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint))
