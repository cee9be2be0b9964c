"""Which weights of a matrix stay or go together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from colonnade.errors import InputError


@dataclass(frozen=True)
class Unstructured:
    """Every weight alone."""

    def __str__(self) -> str:
        return "unstructured"


@dataclass(frozen=True)
class NM:
    """At most n nonzeros in each m consecutive columns of a row.

    If m does not divide the columns, the last group of a row is shorter and keeps at most n as
    well: as if the row was padded with zeros. Groups never straddle rows.
    """

    n: int
    m: int

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


@dataclass(frozen=True)
class Block:
    """Blocks of rows x cols stay or go as one; those at the far edges may be smaller."""

    rows: int
    cols: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.cols}"


@dataclass(frozen=True)
class Vector:
    """A whole output (filter: a row) or a whole input (channel: a column, with all its taps)."""

    kind: Literal["filter", "channel"]

    def __str__(self) -> str:
        return self.kind


Pattern = Unstructured | NM | Block | Vector

SIZE_MAX = 1 << 20
_FORMS = "unstructured, N:M as 2:4, blocks of rows x columns as 1x4, channel or filter"


def parse_pattern(text: str) -> Pattern:
    """The pattern that a text names.

    >>> parse_pattern("2:4"), parse_pattern("1x4"), parse_pattern("filter")
    (NM(n=2, m=4), Block(rows=1, cols=4), Vector(kind='filter'))
    """
    if text == "unstructured":
        return Unstructured()
    if text == "filter" or text == "channel":
        return Vector("filter" if text == "filter" else "channel")
    found = re.fullmatch(r"(\d{1,7})\s*([:x])\s*(\d{1,7})", text)
    if found is None:
        raise InputError(f"pattern {text!r}: expected {_FORMS}")
    first, second = int(found[1]), int(found[3])
    if max(first, second) > SIZE_MAX:
        raise InputError(f"pattern {text!r}: sizes are at most {SIZE_MAX}")
    if found[2] == "x":
        if not (first and second):
            raise InputError(f"pattern {text!r}: a block holds at least 1x1 weights")
        return Block(first, second)
    if not 1 <= first < second:
        raise InputError(f"pattern {text!r}: N:M needs 1 <= N < M")
    return NM(first, second)


def implied_sparsity(pattern: Pattern) -> float | None:
    """The sparsity that the pattern itself fixes; None where it is free.

    >>> implied_sparsity(NM(2, 8))
    0.75
    """
    return 1 - pattern.n / pattern.m if isinstance(pattern, NM) else None


def why_not(pattern: Pattern, rows: int, inputs: int, taps: int = 1) -> str:
    """Why a layer cannot have the pattern, or "". `inputs` are channels, `taps` is kh * kw.

    A group or block must fit into the matrix, and may not straddle the taps of a convolution.
    """
    match pattern:
        case NM(_, group) | Block(_, group):
            if group > inputs:
                return f"{pattern} needs {group} inputs, the layer has {inputs}"
            if taps > 1 and inputs % group:
                return f"{pattern} would straddle taps: {inputs} inputs are no multiple of {group}"
    if isinstance(pattern, Block) and pattern.rows > rows:
        return f"{pattern} needs {pattern.rows} outputs, the layer has {rows}"
    return ""
