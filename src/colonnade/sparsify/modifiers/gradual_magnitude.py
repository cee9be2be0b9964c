"""Prune the smallest weights, more of them step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from colonnade.sparsify.modifiers.gradual import GradualPruning, Scorer
from colonnade.sparsify.pattern import Pattern

if TYPE_CHECKING:
    from torch import Tensor

    from colonnade.sparsify.layers import Layer
    from colonnade.sparsify.run import Run


@dataclass(frozen=True, kw_only=True)
class GradualMagnitude(GradualPruning):
    """The weights with the smallest magnitudes go (Zhu & Gupta 2017, arXiv 1710.01878)."""

    def make_scorer(self, run: Run, layers: list[Layer], pattern: Pattern) -> Scorer:
        """Magnitudes."""
        return _Magnitude()


class _Magnitude(Scorer):
    def scores(self, layer: Layer) -> Tensor:
        return layer.matrix().abs()
