"""Which weights of a layer may go together. Loads without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from colonnade.errors import RecipeError


@dataclass(frozen=True)
class Unstructured:
    """Every weight alone."""


@dataclass(frozen=True)
class NM:
    """At most n nonzeros in each m consecutive columns of a row.

    If m does not divide the columns, the last group of a row is shorter and keeps at most n as
    well: as if the row was padded with zeros. Groups never straddle rows.
    """

    n: int
    m: int


@dataclass(frozen=True)
class Block:
    """Blocks of rows x columns stay or go as one; those at the far edges may be smaller."""

    rows: int
    columns: int


@dataclass(frozen=True)
class Vector:
    """A whole output (filter: a row) or a whole input (channel: all its taps) stays or goes."""

    kind: Literal["filter", "channel"]


Pattern = Unstructured | NM | Block | Vector

PATTERN_HELP = "unstructured, N:M as 2:4, blocks of outputs x inputs as 4x1, channel or filter"


def parse_pattern(text: str) -> Pattern:
    """The pattern that a recipe names.

    >>> parse_pattern("2:4"), parse_pattern("4x1"), parse_pattern("filter")
    (NM(n=2, m=4), Block(rows=4, columns=1), Vector(kind='filter'))
    """
    if text == "unstructured":
        return Unstructured()
    if text == "filter" or text == "channel":
        return Vector("filter" if text == "filter" else "channel")
    numbers = re.fullmatch(r"(\d{1,6})\s*([:x])\s*(\d{1,6})", text)
    if numbers is None:
        raise RecipeError(f"expected {PATTERN_HELP}; got {text!r}", parameter="pattern")
    first, second = int(numbers[1]), int(numbers[3])
    if numbers[2] == "x":
        if not (first and second):
            raise RecipeError(f"a block has at least 1x1 weights, got {text}", parameter="pattern")
        return Block(first, second)
    if not 1 <= first < second:
        raise RecipeError(f"N:M needs 1 <= N < M, got {text}", parameter="pattern")
    return NM(first, second)
