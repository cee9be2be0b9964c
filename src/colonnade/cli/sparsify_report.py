"""The report of a one-shot pruning as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from colonnade.cli.console import plain_data
from colonnade.pruning import LayerRecord, Report

COLUMNS = ("layer", "op", "weights", "sparsity", "error", "why dense")
NUMERIC = ("weights", "sparsity", "error")
NOTHING: Mapping[str, Any] = MappingProxyType({})


def layer_row(layer: LayerRecord) -> tuple[str, ...]:
    """A layer in COLUMNS."""
    return (
        layer.name, layer.op, "x".join(map(str, layer.shape)), f"{layer.sparsity:.1%}",
        "" if layer.error is None else f"{layer.error:.3g}", layer.why,
    )  # fmt: skip


def summary(report: Report, title: str) -> Iterator[str]:
    """The report in a few lines."""
    yield (
        f"{title}: {report.num_pruned} of {len(report.layers)} layers pruned by {report.method}, "
        f"{report.pattern}, {report.allocation}; {report.samples} samples"
    )
    overall = report.zeros / report.all_weights if report.all_weights else 0.0
    yield f"zeros: {report.sparsity:.1%} of the pruned layers, {overall:.1%} of all weights"
    for output in report.outputs:
        agreement = "" if output.agreement is None else f", same top-1 {output.agreement:.1%}"
        yield (
            f"output {output.name}: SQNR {output.sqnr_db:.1f} dB, mean square error "
            f"{output.mse:.4g}{agreement}, on {report.compared} samples"
        )
    yield from report.remarks


def render_json(report: Report, more: Mapping[str, Any] = NOTHING) -> str:
    """The whole report, and what else is known."""
    document = plain_data({**report.to_dict(), **more})
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
