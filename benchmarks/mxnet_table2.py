"""Convolution networks, fused and in 8 bits: python benchmarks/mxnet_table2.py.

The networks of a published table, in float32 and in 8 bits (ONNX Runtime's static QDQ, uint8
activations, int8 weights by channel), against

  naive         the same file without our compiler: COLONNADE_MAX_ISA=portable (kernels in plain
                C++), COLONNADE_STRIPES=off, and COLONNADE_DISABLE_PASSES naming every pass except
                those of NEEDED, without which a node has no kernel. So one kernel call for each
                node, every activation in memory; 8-bit files run as DequantizeLinear, float32,
                QuantizeLinear. Batch normalisation that follows a convolution is folded here too,
                for it has no kernel of its own: that flatters the naive build
  onnxruntime   ONNX Runtime on the same file

Each in a process of its own; ours and ONNX Runtime's run in turns, the naive build a few times
afterwards. float32 answers must agree; those in 8 bits drift apart by many steps in deep networks
(tests/accuracy compares them layer by layer), so of them the cosine is told. Every network must
compile without fallback. Writes benchmarks/results/mxnet_table2.json and .md,
docs/img/mxnet_table2.png and docs/mxnet_tables.md after each row; rows of earlier runs on the same
machine stay.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import colonnade
import models
from candidates import Candidate, Feeds, Measured, cosine, time_few_runs, time_in_turns
from colonnade.bench.agreement import compare_outputs
from colonnade.bench.harness import Schedule
from colonnade.bench.machine import cpu_name
from colonnade.bench.plot import Bar, plot_ratios
from colonnade.passes.pipeline import PASSES
from eight_bits import quantize
from kept_rows import KeptRows, Row
from models.published import NETWORKS

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DOCS = HERE.parent / "docs"
NEEDED = {"fold_batch_norm", "fold_dequantized"}
"""Batch normalisation, and weights that are DequantizeLinear of a constant, have no kernels."""
NAIVE = {
    "COLONNADE_MAX_ISA": "portable",
    "COLONNADE_STRIPES": "off",
    "COLONNADE_DISABLE_PASSES": ",".join(sorted({one.__name__ for one in PASSES} - NEEDED)),
}
PRECISIONS = ("float32", "int8")
PEERS = ("naive", "onnxruntime")
KEYS = ("model", "precision", "batch")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything; 0 when all float32 answers agreed."""
    chosen = _parse(arguments)
    machine = {"cpu": cpu_name(), "isa": colonnade._core.best_isa(), "threads": chosen.threads}
    kept = KeptRows(chosen.results / "mxnet_table2.json", machine, KEYS)
    for name in chosen.models:
        for precision in chosen.precisions:
            for batch in chosen.batches:
                kept.keep(_measure(name, precision, batch, chosen))
                _write(machine, _in_order(kept.rows), chosen)
    print(make_table(machine, _in_order(kept.rows)))
    return 0 if all(row["agrees"] for row in kept.rows) else 1


def _in_order(rows: list[Row]) -> list[Row]:
    names = list(NETWORKS)

    def place(row: Row) -> tuple[int, int, int]:
        return names.index(row["model"]), PRECISIONS.index(row["precision"]), row["batch"]

    return sorted(rows, key=place)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time convolution networks, fused and in 8 bits.")
    parser.add_argument("--models", type=_words, default=list(NETWORKS))
    parser.add_argument("--precisions", type=_words, default=list(PRECISIONS))
    parser.add_argument("--batches", type=_numbers, default=[1, 16], help="1,2,4,8,16,32,64: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each engine of a row")
    parser.add_argument("--naive-runs", type=int, default=2, help="0 leaves the naive build out")
    parser.add_argument(
        "--naive-batch-max", type=int, default=1, help="larger batches leave the naive build out"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=DOCS)
    return parser.parse_args(arguments)


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _measure(name: str, precision: str, batch: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    print(f"{name}, {precision}, batch {batch} ...", file=sys.stderr, flush=True)
    path = models.build(name) if precision == "float32" else quantize(name)
    feeds = models.inputs(name, batch)
    colonnade.compile(path, threads=chosen.threads, fallback="forbid", shapes=_shapes(feeds))
    schedule = Schedule(seconds=chosen.seconds, warm_up_s=chosen.seconds / 4)
    turns = [Candidate(engine, engine, path) for engine in ("colonnade", "onnxruntime")]
    found = time_in_turns(turns, feeds, chosen.threads, schedule)
    if chosen.naive_runs and batch <= chosen.naive_batch_max:
        naive = Candidate("naive", "colonnade", path, NAIVE)
        found["naive"] = time_few_runs(naive, feeds, chosen.threads, chosen.naive_runs)
    row = {"model": name, "precision": precision, "batch": batch, **_figures(found)}
    row["agrees"] = precision != "float32" or _agree(found)
    return row


def _shapes(feeds: Feeds) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in feeds.items()}


def _figures(found: Mapping[str, Measured]) -> dict[str, Any]:
    ours = found["colonnade"]
    return {
        "median_ms": {label: measured.median_ms for label, measured in found.items()},
        "speed_up": {
            peer: found[peer].median_ms / ours.median_ms for peer in PEERS if peer in found
        },
        "cosine": {
            peer: cosine(ours.answers[0], found[peer].answers[0]) for peer in PEERS if peer in found
        },
    }


def _agree(found: Mapping[str, Measured]) -> bool:
    ours = {"logits": found["colonnade"].answers[0]}
    return all(
        compare_outputs(ours, {"logits": found[peer].answers[0]}).is_close
        for peer in PEERS
        if peer in found
    )


def _write(machine: Mapping[str, Any], rows: list[Row], chosen: argparse.Namespace) -> None:
    """Table, picture and page."""
    table = make_table(machine, rows)
    (chosen.results / "mxnet_table2.md").write_text(table)
    plot_ratios(
        _bars(rows), chosen.docs / "img" / "mxnet_table2.png",
        f"float32 and 8 bits, {machine['threads']} threads", "ONNX Runtime",
    )  # fmt: skip
    (chosen.docs / "mxnet_tables.md").write_text(make_page(table))


def make_table(machine: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Medians and speed-ups in Markdown."""
    lines = [
        f"{machine['cpu']} ({machine['isa']}), {machine['threads']} threads: medians in ms, and "
        "how many times faster ours is.", "",
        "| network | | batch | ours | naive | ONNX Runtime | over naive | over ONNX Runtime |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for row in rows:
        times = [_cell(row["median_ms"], key, 1) for key in ("colonnade", *PEERS)]
        gains = [_cell(row["speed_up"], key, 2) for key in PEERS]
        title = NETWORKS[row["model"]].summary
        cells = [title, row["precision"], str(row["batch"]), *times, *gains]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *_means(rows)]
    return "\n".join(lines) + "\n"


def _cell(figures: Mapping[str, float], key: str, digits: int) -> str:
    return f"{figures[key]:.{digits}f}" if key in figures else "-"


def _means(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for precision in PRECISIONS:
        for peer in PEERS:
            gains = [
                row["speed_up"][peer]
                for row in rows
                if row["precision"] == precision and peer in row["speed_up"]
            ]
            if gains:
                lines.append(f"- {precision} over {peer}: {geometric_mean(gains):.2f}")
    return ["Geometric means:", "", *lines] if lines else []


def _bars(rows: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Over ONNX Runtime only: the naive build is off the scale."""
    return [
        Bar(f"{NETWORKS[row['model']].summary}, {row['batch']}", row["precision"], gain, gain, gain)
        for row in rows
        for gain in [row["speed_up"]["onnxruntime"]]
    ]


def make_page(table: str) -> str:
    """docs/mxnet_tables.md: both tables and what they are."""
    recurrent = RESULTS / "mxnet_table3.md"
    parts = [
        "# Fused and 8-bit networks, recurrent layers", "",
        "Written by `python benchmarks/mxnet_table2.py`; the second table by "
        "`python benchmarks/mxnet_table3.py`. The networks and shapes are those of published "
        "tables of MXNet 1.5. Weights are random, the geometry is real.", "",
        "## Convolution networks", "", DEFINITIONS, "", table,
        "![speed over ONNX Runtime](img/mxnet_table2.png)", "", *PUBLISHED,
    ]  # fmt: skip
    if recurrent.exists():
        parts += ["", "## Recurrent layers", "", recurrent.read_text().rstrip()]
    return "\n".join(parts) + "\n"


DEFINITIONS = (
    "*Naive* is the same file with our passes off and kernels in plain C++: one call for each "
    "node. Batch normalisation behind a convolution is folded there too, for it has no kernel. "
    "8-bit files are ONNX Runtime's static QDQ (uint8 activations, int8 weights by channel); every "
    "engine runs the same file."
)

PUBLISHED = (
    "What was published for MXNet itself, on other machines; ratios, not times, are comparable. "
    "MXNet 1.3.0 with MKL-DNN over the same without it, float32, 18 cores of a c5.18xlarge "
    "([MXNet wiki](https://cwiki.apache.org/confluence/pages/viewpage.action?pageId=95650764)):",
    "",
    "| network | latency, batch 1 | throughput, batch 128 |",
    "|---|--:|--:|",
    "| ResNet-50 v1 | 7.45 | 15.90 |",
    "| ResNet-50 v2 | 7.58 | 15.51 |",
    "| Inception v3 | 10.44 | 23.57 |",
    "| MobileNet | 8.73 | 20.60 |",
    "",
    "int8 over float32, both fused, 28 cores of a Xeon 8180 "
    "([apache/mxnet#14823](https://github.com/apache/mxnet/pull/14823)):",
    "",
    "| network | batch 1 | batch 64 |",
    "|---|--:|--:|",
    "| ResNet-18 v1 | 1.59 | 1.65 |",
    "| MobileNet v2 | 1.72 | 3.94 |",
)
"""Copied by hand from the sources named; not measured here."""


if __name__ == "__main__":
    raise SystemExit(main())
