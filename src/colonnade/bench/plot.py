"""Pictures of results, with matplotlib (the `plot` extra) and no display."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from colonnade.errors import CapabilityError

COLOURS = {
    "colonnade": "#1b6ca8",
    "onnxruntime": "#8c8c8c",
    "openvino": "#6a51a3",
    "deepsparse": "#e08214",
    "torch": "#b5442c",
    "float32": "#8c8c8c",
    "int8": "#1b6ca8",
    "colonnade, 90% zeros": "#5fb3e6",
    "colonnade, step by step": "#a9c4d6",
    "onnxruntime, step by step": "#c9c9c9",
}
OTHER_COLOUR = "#555555"
LATENCY_CURVES = (
    ("p50_ms", "p50", "#5fb3e6"),
    ("p99_ms", "p99", "#1b6ca8"),
    ("p999_ms", "p99.9", "#b5442c"),
)
DOTS_PER_INCH = 150


@dataclass(frozen=True)
class Bar:
    """A ratio with its spread."""

    case: str
    engine: str
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class VariantBar:
    """One form of a model in one engine."""

    engine: str
    model: str
    ms: float
    nbytes: int
    """Of the file."""
    agreement: float
    """Share of the same first answer as the dense float32 model gives."""
    sqnr_db: float


def plot_variants(bars: Sequence[VariantBar], title: str, path: Path) -> None:
    """A bar for each form of a model in each engine: time, size and agreement."""
    figure, axes = _figure(1.4 + 0.5 * len(bars))
    names = [f"{bar.engine}, {bar.model}" for bar in bars]
    colours = [COLOURS.get(bar.engine, OTHER_COLOUR) for bar in bars]
    drawn = axes.barh(names, [bar.ms for bar in bars], color=colours, height=0.6)
    labels = [
        f" {bar.ms:.2f} ms, {bar.nbytes / 1e6:.1f} MB, {bar.agreement:.0%} same answers"
        for bar in bars
    ]
    axes.bar_label(drawn, labels, padding=4)
    axes.set_xlim(0, 2.3 * max(bar.ms for bar in bars))  # room for the labels
    axes.invert_yaxis()
    axes.set_title(title, loc="left")
    axes.set_xlabel("median time of a run in ms (shorter is better)")
    _save(figure, path)


def plot_latency(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A bar per entry of `results`: median with a whisker up to p90."""
    figure, axes = _figure(1.2 + 0.5 * len(rows))
    names = [f"{row['engine']} {row['version']}" for row in rows]
    medians = [row["median_ms"] for row in rows]
    tails = [max(0.0, row["p90_ms"] - row["median_ms"]) for row in rows]
    colours = [COLOURS.get(row["engine"], OTHER_COLOUR) for row in rows]
    bars = axes.barh(names, medians, color=colours, height=0.6, xerr=[[0.0] * len(rows), tails])
    axes.bar_label(bars, [f" {median:.2f} ms" for median in medians], padding=8)
    axes.margins(x=0.2)
    axes.invert_yaxis()
    first = rows[0]
    axes.set_title(
        f"{first['model']}, batch {first['batch_size']}, {first['threads']} threads", loc="left"
    )
    axes.set_xlabel("median time of a run in ms, whisker to p90 (shorter is better)")
    _save(figure, path)


def plot_ratios(bars: Sequence[Bar], path: Path, title: str, baseline: str) -> None:
    """Throughput over the baseline's, grouped by case; the whiskers are the rounds' quartiles."""
    cases = list(dict.fromkeys(bar.case for bar in bars))
    engines = list(dict.fromkeys(bar.engine for bar in bars))
    height = 0.8 / len(engines)
    figure, axes = _figure(1.4 + len(cases) * (0.25 + 0.25 * len(engines)))
    for number, engine in enumerate(engines):
        own = [bar for bar in bars if bar.engine == engine]
        places = [cases.index(bar.case) - 0.4 + height * (number + 0.5) for bar in own]
        _draw_group(axes, own, places, height, COLOURS.get(engine, OTHER_COLOUR))
    axes.axvline(1.0, color="black", linewidth=1.0, label=f"{baseline} = 1")
    axes.set_yticks(range(len(cases)), cases)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0.0)
    axes.set_title(title, loc="left")
    axes.set_xlabel(f"throughput relative to {baseline} (longer is better)")
    below = -0.8 / figure.get_figheight()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, below), ncols=4, frameon=False)
    _save(figure, path)


def plot_sweep(document: Mapping[str, Any], path: Path) -> None:
    """Speed of each engine against sparsity, relative to the first engine's dense model."""
    rows = document["results"]
    first = rows[0]
    figure, axes = _figure(5.0)
    for engine in dict.fromkeys(row["engine"] for row in rows):
        own = [row for row in rows if row["engine"] == engine]
        levels = [row["level"] for row in own]
        speeds = [first["median_ms"] / row["median_ms"] for row in own]
        colour = COLOURS.get(engine, OTHER_COLOUR)
        axes.plot(levels, speeds, color=colour, marker="o", markersize=4, label=engine)
        if engine == first["engine"]:
            spread = [row["gain_low"] for row in own], [row["gain_high"] for row in own]
            axes.fill_between(levels, *spread, color=colour, alpha=0.15, linewidth=0)
            axes.set_xticks(levels, [f"{level * 100:g}" for level in levels], fontsize=8)
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    axes.set_ylim(0.0, axes.get_ylim()[1] * 1.1)
    axes.margins(x=0.02)
    _mark_break_even(axes, document["break_even"], first["engine"])
    axes.set_title(
        f"{first['model']}, batch {first['batch_size']}, {first['threads']} threads, "
        f"{first['structure']}",
        loc="left",
    )
    axes.set_xlabel("zeros in the weights, %")
    axes.set_ylabel(f"speed, {first['engine']} without zeros = 1")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, frameon=False)
    _save(figure, path)


def plot_load(document: Mapping[str, Any], path: Path) -> None:
    """Latency of accepted requests against offered load, and below it what was answered."""
    steps = document["open"]
    offered = [step["offered_per_s"] for step in steps]
    figure, (above, below) = _pyplot().subplots(
        2, 1, figsize=(8.0, 6.5), sharex=True, height_ratios=(2, 1), layout="constrained"
    )
    for key, name, colour in LATENCY_CURVES:
        points = [(x, s[key]) for x, s in zip(offered, steps, strict=True) if s[key] is not None]
        if points:
            above.plot(
                *zip(*points, strict=True), marker="o", markersize=4, color=colour, label=name
            )
    above.set_yscale("log")
    above.set_ylabel("ms from the intended time of sending")
    above.set_title(f"{document['target']}: latency of accepted requests", loc="left")
    goodput = [step["goodput_per_s"] for step in steps]
    below.plot(offered, goodput, marker="o", markersize=4, color=COLOURS["colonnade"])
    below.plot(
        offered, offered, color="#8c8c8c", linewidth=0.8, linestyle=":", label="all answered"
    )
    below.set_ylabel("answers per second")
    below.set_xlabel("offered requests per second (Poisson arrivals)")
    below.set_ylim(0.0, 1.15 * max([*goodput, 1e-9]))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        if document["saturation_per_s"] is not None:
            saturation = document["saturation_per_s"]
            axes.axvline(
                saturation, color="black", linewidth=0.9, linestyle="--", label="saturation"
            )
        axes.legend(frameon=False)
    _save(figure, path)


def _mark_break_even(axes: Any, found: Mapping[str, float | None], first: str) -> None:
    """A vertical line where the first engine overtakes its dense self or another engine."""
    for name, level in found.items():
        if not level:  # always or never
            continue
        colour = COLOURS.get(first if name == "dense" else name, OTHER_COLOUR)
        axes.axvline(level, color=colour, linewidth=0.9, linestyle="--")
        axes.annotate(
            f"faster than {name} from {level:.0%} on",
            (level, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-3, -4),
            textcoords="offset points",
            rotation=90,
            horizontalalignment="right",
            verticalalignment="top",
            fontsize=8,
            color=colour,
        )


def _draw_group(
    axes: Any, own: Sequence[Bar], places: Sequence[float], height: float, colour: str
) -> None:
    ratios = [bar.ratio for bar in own]
    below = [max(0.0, bar.ratio - bar.low) for bar in own]
    above = [max(0.0, bar.high - bar.ratio) for bar in own]
    drawn = axes.barh(
        places,
        ratios,
        height * 0.9,
        color=colour,
        label=own[0].engine,
        xerr=[below, above],
        error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
    )
    axes.bar_label(drawn, [f"{ratio:.2f}" for ratio in ratios], padding=4, fontsize=8)


def _figure(height: float) -> tuple[Any, Any]:
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(8.0, max(2.2, height)), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    _pyplot().close(figure)


def _pyplot() -> ModuleType:
    try:
        importlib.import_module("matplotlib").use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise CapabilityError(
            f"plots need matplotlib ({error}): pip install 'colonnade[plot]'"
        ) from error
