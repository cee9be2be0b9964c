"""The report as one HTML file that loads nothing else."""

from __future__ import annotations

import html
import math
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from colonnade.sparsify.report.report import LayerRow, Report
    from colonnade.sparsify.speed import Speed

WIDTH, HEIGHT = 640, 180
LEFT, BOTTOM, TOP = 56, 22, 10


def render_page(report: Report) -> str:
    """The page's text."""
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    charts = [_chart(name, points) for name, points in report.series.items() if len(points) > 1]
    return template.substitute(
        title=html.escape(report.title),
        summary=f"{report.steps} of {report.steps_planned} steps, {report.epochs:.4g} epochs",
        cards="".join(_cards(report)),
        charts="".join(charts),
        rows="".join(_layer_row(layer) for layer in report.layers),
        notes=_list(report.notes) or "<p class=soft>none</p>",
        modifiers=_list(report.modifiers),
    )


def _cards(report: Report) -> list[str]:
    cards = [_card(f"{report.sparsity:.1%}", "zeros in all layers")]
    for name, points in report.series.items():
        if points and name != "sparsity":
            cards.append(_card(f"{points[-1][1]:.4g}", f"{name}, last"))
    if report.expected is not None:
        cards.append(_speed_card(report.expected, "expected"))
    if report.measured is not None:
        cards.append(_speed_card(report.measured, "measured"))
    return cards


def _speed_card(speed: Speed, kind: str) -> str:
    ratio = speed.dense_ms / speed.sparse_ms if speed.sparse_ms > 0 else math.inf
    text = f"{kind}: {speed.dense_ms:.4g} ms dense, {speed.sparse_ms:.4g} ms sparse"
    return _card(f"{ratio:.2f}x", f"{text}; {speed.source}" if speed.source else text)


def _card(value: str, label: str) -> str:
    return f"<div class=card><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>"


def _layer_row(layer: LayerRow) -> str:
    shape = " x ".join(str(size) for size in layer.shape)
    share = f"{layer.sparsity:.1%}"
    return (
        f"<tr><td class=name>{html.escape(layer.name)}</td><td>{shape}</td>"
        f"<td class=number>{layer.num_weights:,}</td><td class=number>{layer.num_zeros:,}</td>"
        f"<td class=share style='--share:{share}'>{share}</td>"
        f"<td>{'held' if layer.is_masked else 'free'}</td></tr>"
    )


def _list(items: Sequence[str]) -> str:
    if not items:
        return ""
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def _chart(name: str, points: Sequence[tuple[float, float]]) -> str:
    kept = [(step, value) for step, value in points if math.isfinite(value)]
    if len(kept) < 2:
        return ""
    low, high = min(value for _, value in kept), max(value for _, value in kept)
    first, last = kept[0][0], kept[-1][0]
    width, height = WIDTH - LEFT - 8, HEIGHT - BOTTOM - TOP

    def place(step: float, value: float) -> str:
        x = LEFT + width * (step - first) / ((last - first) or 1)
        y = TOP + height * (1 - (value - low) / ((high - low) or 1))
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(step, value) for step, value in kept)
    label = html.escape(name)
    return (
        f"<figure><figcaption>{label}</figcaption>"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='{label} over steps'>"
        f"<path class=axis d='M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - 8}'/>"
        f"<text x={LEFT - 6} y={TOP + 8} text-anchor=end>{high:.4g}</text>"
        f"<text x={LEFT - 6} y={HEIGHT - BOTTOM} text-anchor=end>{low:.4g}</text>"
        f"<text x={LEFT} y={HEIGHT - 6}>step {first:.0f}</text>"
        f"<text x={WIDTH - 8} y={HEIGHT - 6} text-anchor=end>{last:.0f}</text>"
        f"<polyline points='{line}'/></svg></figure>"
    )
