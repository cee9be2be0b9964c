"""LSTM stacks in 8 bits against our float32: python benchmarks/recurrent_int8.py.

The shapes of mxnet_table3.py. Three forms of one model run in turns in one process: float32,
static (input and hidden state have a fixed scale) and dynamic (DynamicQuantizeLSTM, as ONNX Runtime's
quantize_dynamic writes it), the last one in ONNX Runtime too. Figures are medians, and ratios of
them. Writes benchmarks/results/recurrent_int8.json and .md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from colonnade.ir import Patch
from colonnade.ir.patch import apply_patches
from colonnade.onnx.exporter import export_model
from colonnade.onnx.importer import import_model
from colonnade.passes.quantize_recurrent import ByteScale, quantize_recurrent
from kept_rows import KeptRows
from mxnet_table3 import (
    KEYS,
    LAYERS,
    RESULTS,
    SHAPES,
    STEPS,
    Run,
    _load_onnxruntime,
    _load_ours,
    _machine,
    _shape,
    _time,
    make_model,
    make_weights,
)

FLOAT = "float32"
STATIC, DYNAMIC, PEER = "static", "dynamic", "ONNX Runtime dynamic"
NORMAL = ByteScale(8 / 255, 128)
"""Of the first layer's input, drawn from a normal distribution."""
STATE = ByteScale(1 / 127, 128)
"""Of the other layers' inputs, which are hidden states."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything."""
    chosen = _parse(arguments)
    kept = KeptRows(chosen.results / "recurrent_int8.json", _machine(chosen.threads), KEYS)
    for layers in chosen.layers:
        for batch, hidden in chosen.shapes:
            kept.keep(_measure(layers, batch, hidden, chosen))
            print(json.dumps(kept.rows[-1]), flush=True)
    page = _page(kept.rows)
    (chosen.results / "recurrent_int8.md").write_text(page)
    print(page)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time LSTM stacks in 8 bits and in float32.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shapes", type=_shape, nargs="+", default=SHAPES, metavar="BATCHxHIDDEN")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds before each turn")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def _measure(layers: int, batch: int, hidden: int, chosen: argparse.Namespace) -> dict[str, Any]:
    x = np.random.default_rng(1).standard_normal((batch, STEPS, hidden)).astype(np.float32)
    model = make_model(make_weights(layers, hidden), x.shape)
    dynamic = to_dynamic(model)
    runs: dict[str, Run] = {
        FLOAT: _load_ours(model, chosen.threads),
        STATIC: _load_ours(to_static(model), chosen.threads),
        DYNAMIC: _load_ours(dynamic, chosen.threads),
        PEER: _load_onnxruntime(dynamic, chosen.threads),
    }
    answers = {name: run(x) for name, run in runs.items()}
    times = _time(runs, x, chosen.rounds, chosen.pause)
    medians = {name: 1e3 * median(taken) for name, taken in times.items()}
    return {
        "layers": layers,
        "batch": batch,
        "hidden": hidden,
        "median_ms": medians,
        "over_float32": {name: medians[FLOAT] / value for name, value in medians.items()},
        "error": {
            name: float(np.abs(answer - answers[FLOAT]).max()) for name, answer in answers.items()
        },
    }


def to_static(model: onnx.ModelProto) -> onnx.ModelProto:
    """8-bit weights, input and hidden state, all with scales in the file."""
    graph = import_model(model)
    patches: list[Patch] = []
    for node in graph.nodes:
        if node.op == "LSTM":
            x = STATE if patches else NORMAL
            patches.append(quantize_recurrent(graph, node, x, STATE))
    made, _ = apply_patches(graph, patches)
    return onnx.load_model_from_string(export_model(made))


def to_dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    """What quantize_dynamic makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        source, made = f"{folder}/float.onnx", f"{folder}/int8.onnx"
        onnx.save(model, source)
        quantize_dynamic(source, made, weight_type=QuantType.QInt8, per_channel=True)
        return onnx.load(made)


def _page(rows: list[dict[str, Any]]) -> str:
    head = "| layers | input | float32 ms | static ms | dynamic ms | static | dynamic | ONNX Runtime dynamic |"
    lines = [head, "|" + " --: |" * 8]
    for row in rows:
        ms, over = row["median_ms"], row["over_float32"]
        lines.append(
            f"| {row['layers']} | [{row['batch']}, {STEPS}, {row['hidden']}] | {ms[FLOAT]:.1f} | "
            f"{ms[STATIC]:.1f} | {ms[DYNAMIC]:.1f} | {over[STATIC]:.2f} | {over[DYNAMIC]:.2f} | "
            f"{over[PEER]:.2f} |"
        )
    for name, kept in (("Geometric mean", rows), ("batch 1", [r for r in rows if r["batch"] == 1])):
        means = [
            geometric_mean(r["over_float32"][n] for r in kept) for n in (STATIC, DYNAMIC, PEER)
        ]
        lines.append(f"{name}: " + ", ".join(f"{mean:.2f}" for mean in means))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
