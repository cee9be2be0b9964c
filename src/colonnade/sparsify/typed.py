"""Values of a dataclass's fields, checked against the annotations of the fields. Without torch."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import types
import typing
from collections.abc import Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any


class MisfitError(Exception):
    """A value that is not what an annotation asks for; `path` leads to the item that is not."""

    def __init__(self, reason: str, path: tuple[Any, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


def field_hints(cls: type) -> Mapping[str, Any]:
    """The annotations of a class and its bases, with `Annotated`.

    Where a name in them is known inside of a function or to type checkers only, those of the class
    itself stay texts, which fit any value.
    """
    return _field_hints(cls)


@functools.cache
def _field_hints(cls: type) -> Mapping[str, Any]:
    try:
        return MappingProxyType(typing.get_type_hints(cls, include_extras=True))
    except (NameError, AttributeError, TypeError):
        own = inspect.get_annotations(cls)
        return MappingProxyType({**_field_hints(cls.__mro__[1]), **own})


def typed(value: Any, hint: Any) -> Any:
    """The value as `hint` has it: 3 is also 3.0, and one value stands for a tuple of one.

    An annotation that is none of a recipe (numbers, texts, literals, tuples and mappings of these)
    takes any value. Raises MisfitError.

    >>> typed("prunable", tuple[str, ...])
    ('prunable',)
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return typed(value, arguments[0])
    if origin in (typing.Union, types.UnionType):
        return _first_fitting(value, arguments)
    if origin is typing.Literal:
        return _literal(value, hint)
    if origin is tuple:
        return _typed_tuple(value, arguments)
    if origin is Mapping:
        return _typed_mapping(value, arguments[1])
    return _typed_scalar(value, hint)


def _first_fitting(value: Any, hints: tuple[Any, ...]) -> Any:
    for hint in hints:
        try:
            return typed(value, hint)
        except MisfitError:
            continue
    raise _misfit(value, " or ".join(_described(hint) for hint in hints))


def _literal(value: Any, hint: Any) -> Any:
    allowed = typing.get_args(hint)
    if value in allowed:
        return value
    misfit = _misfit(value, _described(hint))
    near = difflib.get_close_matches(str(value), [str(one) for one in allowed], n=1, cutoff=0.5)
    raise MisfitError(f"{misfit.reason}; did you mean {near[0]}?") if near else misfit


def _typed_tuple(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_typed_item(item, arguments[0], i) for i, item in enumerate(items))
    if len(items) != len(arguments):
        raise _misfit(value, f"a list of {len(arguments)}")
    pairs = zip(items, arguments, strict=True)
    return tuple(_typed_item(item, hint, i) for i, (item, hint) in enumerate(pairs))


def _typed_mapping(value: Any, hint: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise _misfit(value, "a mapping")
    return {key: _typed_item(item, hint, key) for key, item in value.items()}


def _typed_item(value: Any, hint: Any, place: Any) -> Any:
    try:
        return typed(value, hint)
    except MisfitError as error:
        raise MisfitError(error.reason, (place, *error.path)) from None


def _typed_scalar(value: Any, hint: Any) -> Any:
    if hint is float and _is_finite(value):
        return float(value)
    if hint is int and _is_finite(value) and value == int(value):
        return int(value)
    fits = value is None if hint is type(None) else hint in (bool, str) and isinstance(value, hint)
    if fits or hint not in (float, int, bool, str, type(None)):
        return value
    raise _misfit(value, _described(hint))


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _described(arguments[0])
    if origin is typing.Literal:
        return "one of " + ", ".join(str(value) for value in arguments)
    if origin is tuple:
        return "a list"
    if origin is Mapping:
        return "a mapping"
    return "null" if hint is type(None) else _WORDS.get(hint, str(hint))


def _misfit(value: Any, expected: str) -> MisfitError:
    return MisfitError(f"expected {expected}, got {value!r}")
