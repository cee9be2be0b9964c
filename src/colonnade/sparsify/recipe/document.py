"""YAML as a tree that remembers its lines. Tags make no objects, and aliases no explosions.

Scalars are those of YAML 1.2: 1e-3 is a number, 2:4 and yes are texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import yaml

from colonnade.errors import RecipeError

NODES_MAX = 50_000
DEPTH_MAX = 50
BYTES_MAX = 4 * 2**20

_CORE = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Entry:
    """A value with its line: a scalar, a tuple of entries, or a dict of entries."""

    value: Any
    line: int
    tag: str = ""
    """Of a node that has one of its own, as `!EpochRangeModifier`, without the mark."""
    keys: Mapping[str, int] | None = None
    """The lines of a mapping's keys."""

    def plain(self) -> Any:
        """The value without lines."""
        if isinstance(self.value, dict):
            return {key: entry.plain() for key, entry in self.value.items()}
        if isinstance(self.value, tuple):
            return [entry.plain() for entry in self.value]
        return self.value


def read_document(text: str, source: str) -> Entry:
    """The YAML in `text`; `source` names it in errors."""
    if len(text) > BYTES_MAX:
        raise RecipeError(f"{len(text)} characters; expected at most {BYTES_MAX}", source=source)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise RecipeError(f"not YAML: {error.problem}", source=source, line=line) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"not YAML: {error}", source=source) from None
    if node is None:
        raise RecipeError("the recipe is empty", source=source)
    return _Reader(source).entry(node, 0)


class _Loader(yaml.SafeLoader):
    """Takes every plain scalar as a text; the reader below looks what it is."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012  # as in the base class


_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, Any] = MappingProxyType(
    {"true": True, "false": False, "null": None, "~": None, "": None}
)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|nan)")
DIGITS_MAX = 300


def _plain_scalar(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if len(text) > DIGITS_MAX:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text.lower()) else text


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._num_nodes = 0

    def entry(self, node: yaml.Node, depth: int) -> Entry:
        line = node.start_mark.line + 1
        self._num_nodes += 1
        if self._num_nodes > NODES_MAX or depth > DEPTH_MAX:
            raise self._error("too many or too deeply nested values", line)
        tag = "" if node.tag.startswith(_CORE) else node.tag
        if node.tag.startswith(f"{_CORE}python/"):
            raise self._error(f"a recipe makes no Python objects, got {node.tag}", line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, line, tag.removeprefix("!"), depth)
        if isinstance(node, yaml.SequenceNode):
            items = tuple(self.entry(item, depth + 1) for item in node.value)
            return Entry(items, line, tag.removeprefix("!"))
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None and not tag
        value = _plain_scalar(node.value) if is_plain else node.value
        return Entry(value, line, tag.removeprefix("!"))

    def _mapping(self, node: yaml.MappingNode, line: int, tag: str, depth: int) -> Entry:
        entries: dict[str, Entry] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error("a key is a plain text", key_line)
            key = key_node.value
            if key in entries:
                raise self._error(f"{key!r} comes twice, first in line {lines[key]}", key_line)
            entries[key] = self.entry(value_node, depth + 1)
            lines[key] = key_line
        return Entry(entries, line, tag, lines)

    def _error(self, reason: str, line: int) -> RecipeError:
        return RecipeError(reason, source=self._source, line=line)
