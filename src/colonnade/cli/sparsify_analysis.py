"""An analysis as a table, JSON and one HTML page."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from string import Template

from colonnade.cli.console import plain_data
from colonnade.cli.explain_page import STYLE
from colonnade.errors import InputError
from colonnade.search import Analysis, LayerCost

TEMPLATE = Path(__file__).with_name("sparsify_page.html")
SHOWN = (0.5, 0.8, 0.9, 0.95)
"""Levels that have columns; all are in the JSON."""
OTHERS = "; at others it is estimated from these"


def analysis_rows(found: Analysis) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Names of columns, and a row for each layer."""
    levels = _shown(found)
    names = ["layer", "weights", "dense ms", "share"]
    for level in levels:
        error = "error" if level in found.probes else "estimated error"
        names += [f"gain at {level:.0%}", f"{error} at {level:.0%}"]
    return tuple(names), [_row(layer, found, levels) for layer in found.layers]


def analysis_summary(found: Analysis) -> Iterator[str]:
    """The analysis in a few lines."""
    layers = found.dense_ms - found.rest_ms
    yield (
        f"{found.model}: {found.dense_ms:.2f} ms dense on {found.threads} threads; "
        f"{len(found.layers)} layers can be pruned ({found.pattern}) and take {layers:.2f} ms"
    )
    yield (
        f"with every layer at its cheapest level: about {found.least_ms:.2f} ms, "
        f"{found.dense_ms / found.least_ms:.1f} times as fast; no target beyond that can be met"
    )
    measured = ", ".join(f"{level:.0%}" for level in found.probes)
    others = "" if len(found.levels) == 1 + len(found.probes) else OTHERS
    yield (
        "error: squared error of the outputs over their square, with this layer alone pruned by "
        f"{found.method}; measured at {measured} zeros{others}"
    )


def render_analysis(path: Path, found: Analysis) -> str:
    """In the form that the suffix of `path` names."""
    if path.suffix == ".json":
        return json.dumps(plain_data(found.to_dict()), indent=2, allow_nan=False) + "\n"
    names, rows = analysis_rows(found)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=STYLE.read_text(encoding="utf-8").rstrip(),
        title=html.escape(found.model),
        notes="\n".join(
            f"<p class=soft>{html.escape(line)}</p>" for line in analysis_summary(found)
        ),
        names="".join(f"<th>{html.escape(name)}</th>" for name in names),
        rows="\n".join(_page_row(row) for row in rows),
    )


def read_analysis(path: Path) -> Analysis:
    """What `analyze --report` wrote as JSON."""
    try:
        return Analysis.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"{path}: no analysis of this version; expected what `colonnade sparsify analyze "
            "--report FILE.json` writes"
        ) from None


def _shown(found: Analysis) -> list[float]:
    shown = [level for level in SHOWN if level in found.levels]
    return shown or [level for level in found.levels if level > 0]


def _row(layer: LayerCost, found: Analysis, levels: list[float]) -> tuple[str, ...]:
    cells = [
        layer.name, "x".join(map(str, layer.shape)), f"{layer.ms[0]:.3f}",
        f"{layer.ms[0] / found.dense_ms:.1%}",
    ]  # fmt: skip
    for level in levels:
        place = found.levels.index(level)
        gain = layer.ms[0] / layer.ms[place] if layer.ms[place] else 1.0
        cells += [f"{gain:.2f}", f"{layer.errors[place]:.1e}"]
    return tuple(cells)


def _page_row(row: tuple[str, ...]) -> str:
    name, *cells = (html.escape(cell) for cell in row)
    inner = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr><td class=name>{name.replace('/', '/<wbr>')}</td>{inner}</tr>"
