"""N:M patterns, and what they save. Loads without torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Axis = Literal["row", "col"]


@dataclass(frozen=True)
class NMPattern:
    """At most n nonzeros in each m consecutive weights.

    Groups run along the inputs of one output ("row") or along the outputs of one input ("col");
    those of a convolution run along its channels at one tap. They never straddle rows. A weight has
    its outputs first; for one that has its inputs first the pattern is `turned`. If m does
    not divide the extent, the last group is shorter and keeps at most n as well, as if the extent
    was padded with zeros.

    >>> NMPattern(2, 16), str(NMPattern(1, 8)), NMPattern(2, 16).density
    (NMPattern(n=2, m=16, axis='row'), '1:8', 0.125)
    """

    n: int
    m: int
    axis: Axis = "row"

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m:
            raise ValueError(f"N:M needs 1 <= N <= M, got {self.n}:{self.m}")
        if self.axis not in ("row", "col"):
            raise ValueError(f"expected axis 'row' or 'col', got {self.axis!r}")

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def density(self) -> float:
        """The share of weights that may stay."""
        return self.n / self.m

    def scaled(self, factor: int) -> NMPattern:
        """The same density in groups that are `factor` times as long."""
        return NMPattern(self.n * factor, self.m * factor, self.axis)

    def turned(self) -> NMPattern:
        """The same groups in a weight that is inputs x outputs."""
        return NMPattern(self.n, self.m, "col" if self.axis == "row" else "row")

    def with_n(self, n: int) -> NMPattern:
        """Groups of the same length that keep n."""
        return NMPattern(n, self.m, self.axis)


def parse_nm(text: str, axis: Axis = "row") -> NMPattern:
    """The pattern written as "N:M".

    >>> parse_nm("1:8")
    NMPattern(n=1, m=8, axis='row')
    """
    numbers = re.fullmatch(r"\s*(\d{1,6})\s*:\s*(\d{1,6})\s*", text)
    if numbers is None:
        raise ValueError(f"expected N:M as 1:8, got {text!r}")
    return NMPattern(int(numbers[1]), int(numbers[2]), axis)


def stored_ratio(pattern: NMPattern, value_bits: int) -> float:
    """Bits of the packed weights and their positions, as a share of the dense ones.

    >>> stored_ratio(NMPattern(2, 4), 16)
    0.5625
    """
    position_bits = math.ceil(math.log2(pattern.m))
    return pattern.n * (value_bits + position_bits) / (pattern.m * value_bits)


def remaining_macs(total: float, sparse_part: float, pattern: NMPattern) -> float:
    """Multiply-adds of a model whose layers with `sparse_part` of the `total` are in the pattern.

    >>> remaining_macs(10.0, 8.0, NMPattern(1, 4))
    4.0
    """
    return total - sparse_part * (1 - pattern.density)
