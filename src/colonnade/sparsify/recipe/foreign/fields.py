"""The parameters of a foreign modifier: what nobody takes is reported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from colonnade.sparsify.recipe.document import Entry

FUNCTION_PREFIX = re.compile(r"\b(math|np|numpy)\.")

_TIMES = ("start_epoch", "end_epoch", "start", "end")


@dataclass(frozen=True)
class Note:
    """Something that has no counterpart, or not the same meaning."""

    line: int
    where: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.where}: {self.text}"


class Fields:
    """Gives out parameters by name and remembers which were taken."""

    def __init__(
        self,
        modifier: str,
        entry: Entry,
        notes: list[Note],
        recipe: Sequence[tuple[str, Entry]] = (),
    ) -> None:
        self.modifier = modifier
        self.recipe = recipe
        """All modifiers of the recipe, by name, with their parameters."""
        self.line = entry.line
        self._entries: dict[str, Entry] = entry.value if isinstance(entry.value, dict) else {}
        self._left = dict(self._entries)
        self._notes = notes

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def take(self, *names: str, default: Any = None) -> Any:
        """The value under the first of `names` that is there; expressions become `$(...)`."""
        found = default
        for name in reversed(names):
            entry = self._left.pop(name, None)
            if entry is not None:
                found = plain_value(entry)
        return found

    def times(self) -> list[Any]:
        """When the modifier starts and ends, as far as it says so; takes nothing."""
        names = [name for name in _TIMES if name in self._entries]
        values = [plain_value(self._entries[name]) for name in names]
        return [v for v in values if isinstance(v, str) or (isinstance(v, int | float) and v >= 0)]

    def expect(self, name: str, *allowed: Any) -> None:
        """Take a parameter that changes nothing at the values `allowed`, and report others."""
        value = self.take(name, default=allowed[0])
        if value not in allowed:
            self.note(name, f"{value!r} has no counterpart")

    def ignore(self, names: Sequence[str], reason: str) -> None:
        """Report each of `names` that is there as without effect here."""
        for name in names:
            if name in self._left:
                self.note(name, f"is left out: {reason}")
                self._left.pop(name)

    def note(self, name: str, text: str) -> None:
        """Report something about a parameter."""
        entry = self._entries.get(name)
        line = self.line if entry is None else entry.line
        self._notes.append(Note(line, f"{self.modifier}.{name}" if name else self.modifier, text))

    def report_rest(self) -> None:
        """Report what nobody took."""
        for name in list(self._left):
            self.note(name, f"has no counterpart (its value: {plain_value(self._left[name])!r})")


def plain_value(entry: Entry) -> Any:
    """The value without lines, `eval(...)` of other tools as our `$(...)`."""
    if isinstance(entry.value, dict):
        return {key: plain_value(item) for key, item in entry.value.items()}
    if isinstance(entry.value, tuple):
        return [plain_value(item) for item in entry.value]
    return as_expression(entry.value)


def as_expression(value: Any) -> Any:
    """`eval(a * 2)` as `$(a * 2)`; anything else as it is.

    >>> as_expression("eval(math.ceil(num_epochs * 0.5))")
    '$(ceil(num_epochs * 0.5))'
    """
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*eval\((.*)\)\s*", value, re.DOTALL)
    return f"$({FUNCTION_PREFIX.sub('', found[1]).strip()})" if found else value
