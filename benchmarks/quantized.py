"""Models in 8 bits against other engines: python benchmarks/quantized.py [MODEL ...].

Every engine runs its own best 8-bit form of the model (eight_bits.py), the fastest of FORMS in this
run; ours runs ONNX Runtime's QDQ file. Of a sparse variant (resnet50_s95) the dense engines, ONNX
Runtime and OpenVINO, run the dense model instead, for zeros gain them nothing. There, ONNX Runtime
runs the dense model and DeepSparse the sparse one in float32 too. All are timed in turns, with our
float32 plan of the model.

Answers of engines that round 8-bit values differently drift apart by many steps in deep models, so
they are not compared here: tests/accuracy compares layer by layer. What is kept is the cosine of
each answer to that of the same weights in float32, to see that an engine computed the model at all.
Writes benchmarks/results/quantized.json after each row and prints a Markdown table; rows of
earlier runs on the same machine stay.
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
from candidates import Candidate, Measured, cosine, time_in_turns
from colonnade.bench.harness import Schedule
from colonnade.bench.machine import cpu_name
from eight_bits import quantize, sample_inputs
from kept_rows import KeptRows
from models.sparse import parse_variant

RESULTS = Path(__file__).resolve().parent / "results" / "quantized.json"
MODELS = ("resnet50", "bert_base", "efficientnet_lite0", "minilm_l6")
FORMS = {
    "colonnade": ("qdq",),
    "onnxruntime": ("qdq", "qoperator"),
    "openvino": ("qdq", "nncf"),
    "deepsparse": ("qdq", "qoperator", "integer"),
}
"""What each engine may choose from."""
DENSE_ENGINES = ("onnxruntime", "openvino")
FLOAT32 = "float32"
OURS = "colonnade"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything; 0 when done."""
    parser = argparse.ArgumentParser(description="Time models in 8 bits.")
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--peers", default="onnxruntime", help="as `benchmark --compare`")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each engine and form")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    machine = {"cpu": cpu_name(), "isa": colonnade._core.best_isa(), "threads": chosen.threads}
    kept = KeptRows(chosen.results, machine, ("model", "batch"))
    for name in chosen.models:
        for batch in chosen.batches.split(","):
            kept.keep(measure(name, int(batch), chosen))
    print(make_table(kept.rows))
    return 0


def measure(name: str, batch: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Medians in milliseconds of each engine's best form, and of every form."""
    print(f"{name}, batch {batch} ...", file=sys.stderr, flush=True)
    candidates = make_candidates(name, chosen.peers.split(","))
    schedule = Schedule(seconds=chosen.seconds)
    found = time_in_turns(candidates, sample_inputs(name, batch), chosen.threads, schedule)
    best = best_forms(found)
    return {
        "model": name,
        "batch": batch,
        "median_ms": {engine: found[label].median_ms for engine, label in best.items()},
        "form": {engine: label.partition(": ")[2] for engine, label in best.items()},
        "form_ms": {label: measured.median_ms for label, measured in found.items()},
        "cosine": _cosines(found),
    }


def make_candidates(name: str, peers: Sequence[str]) -> list[Candidate]:
    """Labels are "ENGINE: FORM"; an engine on the dense model of a sparse one is "ENGINE dense"."""
    variant = parse_variant(name)
    made = [Candidate(f"{FLOAT32}: {FLOAT32}", OURS, models.build(name))]
    for engine in (OURS, *peers):
        is_dense = variant is not None and engine in DENSE_ENGINES
        source = variant.dense if variant is not None and is_dense else name
        title = f"{engine} dense" if is_dense else engine
        made += [
            Candidate(f"{title}: {form}", engine, quantize(source, form)) for form in FORMS[engine]
        ]
    if variant is not None and "onnxruntime" in peers:
        made.append(_float32("onnxruntime dense", "onnxruntime", variant.dense))
    if variant is not None and "deepsparse" in peers:
        made.append(_float32("deepsparse", "deepsparse", name))
    return made


def _float32(title: str, engine: str, name: str) -> Candidate:
    return Candidate(f"{title} {FLOAT32}: {FLOAT32}", engine, models.build(name))


def best_forms(found: Mapping[str, Measured]) -> dict[str, str]:
    """The label of each engine's fastest form."""
    best: dict[str, str] = {}
    for label in sorted(found, key=lambda label: found[label].median_ms):
        best.setdefault(label.partition(": ")[0], label)
    return best


def _cosines(found: Mapping[str, Measured]) -> dict[str, float]:
    """Of the first outputs, to float32 answers of the same weights."""
    dense = found.get(f"onnxruntime dense {FLOAT32}: {FLOAT32}")
    own = found[f"{FLOAT32}: {FLOAT32}"]
    return {
        label: cosine(
            measured.answers[0], (dense if dense and " dense" in label else own).answers[0]
        )
        for label, measured in found.items()
    }


def make_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many times faster ours is than each engine's best form, in Markdown."""
    others = list(dict.fromkeys(name for row in rows for name in row["median_ms"] if name != OURS))
    lines = [
        "| model | batch | ms | " + " | ".join(f"against {name}" for name in others) + " |",
        "|---" * (3 + len(others)) + "|",
    ]
    for row in rows:
        cells = [row["model"], str(row["batch"]), f"{row['median_ms'][OURS]:.2f}"]
        cells += [_gain(row, name) for name in others]
        lines.append("| " + " | ".join(cells) + " |")
    for name in others:
        gains = [
            row["median_ms"][name] / row["median_ms"][OURS]
            for row in rows
            if name in row["median_ms"]
        ]
        lines.append(f"geometric mean against {name}: {geometric_mean(gains):.3f}")
    return "\n".join(lines)


def _gain(row: Mapping[str, Any], name: str) -> str:
    """The ratio, with the form that it is against."""
    medians = row["median_ms"]
    if name not in medians:
        return "-"
    return f"{medians[name] / medians[OURS]:.2f} ({row['form'][name]})"


if __name__ == "__main__":
    raise SystemExit(main())
