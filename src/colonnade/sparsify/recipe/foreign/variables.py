"""Variables of other tools: numbers stay variables; texts and lists are put in place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from colonnade.errors import RecipeError
from colonnade.sparsify.recipe.document import DEPTH_MAX, NODES_MAX, Entry
from colonnade.sparsify.recipe.foreign.fields import Note, plain_value

_NAME = re.compile(r"\s*eval\(\s*(\w+)\s*\)\s*")


class Variables:
    """Those of one recipe."""

    def __init__(self, entries: Mapping[str, Entry], source: str) -> None:
        self._source = source
        # A variable that is another one by name has its value.
        self._chains = {name: _chain(name, entries) for name in entries}
        self._others = {
            name: entries[chain[-1]]
            for name, chain in self._chains.items()
            if not _is_number(entries[chain[-1]])
        }
        self.numbers = {
            name: replace(entry, value=plain_value(entry))
            for name, entry in entries.items()
            if name not in self._others
        }
        self._lines = {name: entry.line for name, entry in entries.items()}
        self._unused = dict.fromkeys(self._others)
        self._room = NODES_MAX

    def put_in(self, parameters: Entry) -> Entry:
        """The parameters of a modifier; one that is exactly `eval(NAME)` gets NAME's value if that
        is no number."""
        if not isinstance(parameters.value, dict):
            return parameters
        found = {key: self._value(entry) for key, entry in parameters.value.items()}
        return replace(parameters, value=found)

    def notes(self) -> list[Note]:
        """On those that nothing used, and that ours cannot be."""
        return [
            Note(self._lines[name], name, f"is no number, and left out: {plain_value(entry)!r}")
            for name, entry in self._others.items()
            if name in self._unused
        ]

    def _value(self, entry: Entry) -> Entry:
        name = _name_in(entry)
        if name not in self._others:
            return entry
        for used in self._chains[name]:
            self._unused.pop(used, None)
        value = self._others[name].value
        self._room -= len(value) if isinstance(value, tuple | dict) else 1
        if self._room < 0:
            raise RecipeError(
                "its variables make too many values", source=self._source, line=entry.line
            )
        return replace(entry, value=value)


def _chain(name: str, entries: Mapping[str, Entry]) -> list[str]:
    found = [name]
    while (name := _name_in(entries[name])) in entries and len(found) < DEPTH_MAX:
        found.append(name)
    return found


def _name_in(entry: Entry) -> str:
    found = _NAME.fullmatch(entry.value) if isinstance(entry.value, str) else None
    return found[1] if found else ""


def _is_number(entry: Entry) -> bool:
    value: Any = plain_value(entry)
    return type(value) in (int, float) or (isinstance(value, str) and value.startswith("$("))
