"""What prune() did, as data: by layer and by output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerRecord:
    """A layer with weights."""

    name: str
    op: str
    shape: tuple[int, ...]
    """Of its weights; () where they are not known."""
    sparsity: float
    """Share of its weights that are 0."""
    error: float | None
    """Squared error of its output over the square of it, on the calibration data."""
    why: str
    """Why it stays dense; "" where it is pruned."""


@dataclass(frozen=True)
class OutputRecord:
    """How far an output lies from the dense model's."""

    name: str
    sqnr_db: float
    mse: float
    agreement: float | None
    """Share of rows with the same largest element; None unless the output is [rows, classes]."""


@dataclass(frozen=True)
class Report:
    """The result of a pruning."""

    model: str
    method: str
    pattern: str
    allocation: str
    samples: int
    """Of calibration."""
    compared: int
    """Samples that the outputs were compared on."""
    layers: tuple[LayerRecord, ...]
    outputs: tuple[OutputRecord, ...]
    weights: int
    """Of pruned layers."""
    zeros: int
    all_weights: int
    """Of pruned and dense layers."""
    remarks: tuple[str, ...] = ()
    """What is not as it was asked for, or not as data should be."""

    @property
    def sparsity(self) -> float:
        """Of the pruned layers together."""
        return self.zeros / self.weights if self.weights else 0.0

    @property
    def num_pruned(self) -> int:
        """Layers that are pruned."""
        return sum(not layer.why for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON but for infinities."""
        found = asdict(self)
        found["layers"], found["outputs"] = list(found["layers"]), list(found["outputs"])
        return {**found, "sparsity": self.sparsity, "num_pruned": self.num_pruned}
