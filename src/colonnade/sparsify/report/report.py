"""What a run did, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colonnade.errors import RunError
from colonnade.sparsify.layers import list_layers
from colonnade.sparsify.report.page import render_page
from colonnade.sparsify.speed import Speed

if TYPE_CHECKING:
    from colonnade.sparsify.session import Session


@dataclass(frozen=True)
class LayerRow:
    """One weight at the end of the run."""

    name: str
    shape: tuple[int, ...]
    num_weights: int
    num_zeros: int
    is_masked: bool

    @property
    def sparsity(self) -> float:
        """The share of zeros."""
        return self.num_zeros / self.num_weights


@dataclass(frozen=True, kw_only=True)
class Report:
    """Layers, series over steps, what was planned and what happened."""

    steps: int
    steps_planned: int
    epochs: float
    modifiers: tuple[str, ...]
    layers: tuple[LayerRow, ...]
    series: Mapping[str, list[tuple[float, float]]]
    notes: tuple[str, ...] = ()
    expected: Speed | None = None
    measured: Speed | None = None
    title: str = "Sparsification"
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def sparsity(self) -> float:
        """The share of zeros of all layers together."""
        weights = sum(layer.num_weights for layer in self.layers)
        return sum(layer.num_zeros for layer in self.layers) / weights if weights else 0.0

    def document(self) -> dict[str, Any]:
        """Data that JSON can hold."""
        layers = [asdict(layer) | {"sparsity": layer.sparsity} for layer in self.layers]
        whole = asdict(self) | {"layers": layers, "sparsity": self.sparsity, "format": 1}
        whole["series"] = {name: _finite(points) for name, points in self.series.items()}
        return whole


def build_report(
    session: Session, *, expected: Speed | None = None, measured: Speed | None = None
) -> Report:
    """The report of a session, during or after it."""
    run = session.run
    series = session.history.series
    return Report(
        steps=run.step,
        steps_planned=run.num_steps,
        epochs=run.epoch,
        modifiers=tuple(session.plan),
        layers=tuple(
            LayerRow(
                layer.name,
                tuple(layer.weight.shape),
                layer.weight.numel(),
                int((layer.weight.detach() == 0).sum()),
                layer.name in run.masks,
            )
            for layer in list_layers(run.model)
        ),
        series={name: list(item.points) for name, item in series.items()},
        notes=tuple(run.notes),
        expected=expected,
        measured=measured,
    )


def write_report(report: Report, path: Path | str) -> None:
    """Write a page (`.html`) or data (`.json`)."""
    path = Path(path)
    if path.suffix == ".json":
        text = json.dumps(report.document(), indent=1, allow_nan=False)
    elif path.suffix == ".html":
        text = render_page(report)
    else:
        raise RunError(f"{path}: expected a name that ends in .html or .json")
    path.write_text(text, encoding="utf-8")


def _finite(points: list[tuple[float, float]]) -> list[list[float | None]]:
    return [[step, value if math.isfinite(value) else None] for step, value in points]
