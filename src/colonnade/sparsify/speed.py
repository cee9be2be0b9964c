"""The speed of a model before and after, as a report shows it. Works without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What one run of the model costs, dense and sparse: expected before, or measured after."""

    dense_ms: float
    sparse_ms: float
    source: str = ""
    """Where the figures come from: machine, batch, engine."""

    @property
    def gain(self) -> float:
        """How many times as fast the sparse model is."""
        return self.dense_ms / self.sparse_ms
