"""LSTM stacks of 8 and 4 layers in several engines and forms: python benchmarks/mxnet_table3.py.

The shapes of a published table of fused recurrent layers: [batch, 50, hidden]. Peers are ONNX Runtime
and torch on the same stack, the stack written step by step (benchmarks/unrolled.py) in colonnade and
in ONNX Runtime, and colonnade with 90% of W and R zero. All run in turns in one process, on the same
inputs, with a pause before each turn so that none is disturbed by another one's waiting threads;
answers are compared first. Figures are medians, and ratios of them. Writes mxnet_table3.json and .md,
and with matplotlib .png; rows of earlier runs on the same machine stay. Without torch its column is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import colonnade
from colonnade.bench.agreement import Agreement, compare_outputs
from colonnade.bench.machine import cpu_name
from colonnade.bench.plot import Bar, plot_ratios
from colonnade.errors import CapabilityError
from kept_rows import KeptRows
from unrolled import make_unrolled_model

RESULTS = Path(__file__).resolve().parent / "results"
STEPS = 50
LAYERS = (8, 4)
SHAPES = ((1, 512), (1, 1024), (32, 512), (32, 1024))
"""(batch, hidden)"""
KEYS = ("layers", "batch", "hidden")
OURS = "colonnade"
ORT, TORCH = "onnxruntime", "torch"
SPARSE, SPARSITY = "colonnade, 90% zeros", 0.9
UNROLLED, ORT_UNROLLED = "colonnade, step by step", "onnxruntime, step by step"
PUBLISHED = (
    "Published for MXNet 1.3 on 28 cores of a Xeon 8180, fused over unfused, one layer, [batch, steps, "
    "features] ([mail](https://www.mail-archive.com/devnull@infra.apache.org/msg45333.html)): "
    "3.22 at [16, 25, 512], 2.82 at [32, 25, 512], 3.93 at [64, 50, 500]. Not measured here; figures "
    "for the shapes of this table were not found."
)
Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Weights:
    """One layer, gates in the order of ONNX: input, output, forget, cell."""

    w: np.ndarray
    r: np.ndarray
    b: np.ndarray


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything; 0 when all answers agreed."""
    chosen = _parse(arguments)
    kept = KeptRows(chosen.results / "mxnet_table3.json", _machine(chosen.threads), KEYS)
    for layers in chosen.layers:
        for batch, hidden in chosen.shapes:
            kept.keep(_measure(layers, batch, hidden, chosen))
            print(json.dumps(kept.rows[-1]), flush=True)
    try:
        _plot(kept.rows, chosen.threads, chosen.results / "mxnet_table3.png")
    except CapabilityError as error:
        print(f"no picture: {error}")
    page = _page(kept.document)
    (chosen.results / "mxnet_table3.md").write_text(page)
    print(page)
    return 0 if all(row["agrees"] for row in kept.rows) else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time LSTM stacks in several engines.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds before each turn")
    parser.add_argument("--shapes", type=_shape, nargs="+", default=SHAPES, metavar="BATCHxHIDDEN")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def _shape(text: str) -> tuple[int, int]:
    batch, hidden = text.split("x")
    return int(batch), int(hidden)


def _measure(layers: int, batch: int, hidden: int, chosen: argparse.Namespace) -> dict[str, Any]:
    weights = make_weights(layers, hidden)
    x = np.random.default_rng(1).standard_normal((batch, STEPS, hidden)).astype(np.float32)
    runs = _load(weights, x.shape, chosen.threads)
    answers = {name: run(x) for name, run in runs.items()}
    agreements = {
        name: compare_outputs({"y": answers[OURS]}, {"y": answer})
        for name, answer in answers.items()
        if name != OURS
    }
    pruned = make_pruned(weights)
    sparse = make_model(pruned, x.shape)
    runs[SPARSE] = _load_ours(sparse, chosen.threads)
    agreements[SPARSE] = _compare_sparse(sparse, runs[SPARSE], x)
    times = _time(runs, x, chosen.rounds, chosen.pause)
    medians = {name: 1e3 * median(taken) for name, taken in times.items()}
    return {
        "layers": layers,
        "batch": batch,
        "hidden": hidden,
        "median_ms": medians,
        "best_ms": {name: 1e3 * min(taken) for name, taken in times.items()},
        "ratio": {name: value / medians[OURS] for name, value in medians.items() if name != OURS},
        "quartiles": {name: _quartiles(times[OURS], taken) for name, taken in times.items()},
        "max_abs_error": {name: found.max_abs_error for name, found in agreements.items()},
        "agrees": all(found.is_close for found in agreements.values()),
    }


def make_weights(layers: int, hidden: int) -> list[Weights]:
    """As torch draws them: uniform in 1 / sqrt(hidden)."""
    rng = np.random.default_rng(0)
    bound = hidden**-0.5

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    rows = 4 * hidden
    return [
        Weights(draw(1, rows, hidden), draw(1, rows, hidden), draw(1, 2 * rows))
        for _ in range(layers)
    ]


def make_pruned(weights: list[Weights]) -> list[Weights]:
    """Nine tenths of W and R zero, at random."""
    rng = np.random.default_rng(2)

    def prune(array: np.ndarray) -> np.ndarray:
        return array * (rng.random(array.shape) >= SPARSITY).astype(np.float32)

    return [Weights(prune(layer.w), prune(layer.r), layer.b) for layer in weights]


def _compare_sparse(model: onnx.ModelProto, run: Run, x: np.ndarray) -> Agreement:
    """Against dense kernels on the same weights."""
    dense = colonnade.compile(model, threads=1, tune="off", strict_nan=True)
    return compare_outputs({"y": dense.run({"x": x})["y"]}, {"y": run(x)})


def _quartiles(ours: Sequence[float], taken: Sequence[float]) -> list[float]:
    """Of its speed over ours, turn by turn."""
    ratios = [mine / its for mine, its in zip(ours, taken, strict=True)]
    return [float(q) for q in np.quantile(ratios, [0.25, 0.75])]


def _load(weights: list[Weights], shape: tuple[int, ...], threads: int) -> dict[str, Run]:
    model = make_model(weights, shape)
    runs = {OURS: _load_ours(model, threads), ORT: _load_onnxruntime(model, threads)}
    unrolled = make_unrolled_model(weights, shape)
    runs[UNROLLED] = _load_ours(unrolled, threads)
    runs[ORT_UNROLLED] = _load_onnxruntime(unrolled, threads)
    try:
        runs[TORCH] = _load_torch(weights, threads)
    except ImportError:
        print("torch is not installed: left out")
    return runs


def make_model(weights: list[Weights], shape: tuple[int, ...]) -> onnx.ModelProto:
    """The graph that exporters write for a stack of LSTMs whose input is batch first."""
    hidden = shape[-1]
    nodes = [helper.make_node("Transpose", ["x"], ["h0"], perm=[1, 0, 2])]
    constants = [numpy_helper.from_array(np.array([1], np.int64), "direction")]
    for i, layer in enumerate(weights):
        names = [f"w{i}", f"r{i}", f"b{i}"]
        arrays = (layer.w, layer.r, layer.b)
        constants += [numpy_helper.from_array(a, n) for a, n in zip(arrays, names, strict=True)]
        nodes.append(helper.make_node("LSTM", [f"h{i}", *names], [f"y{i}"], hidden_size=hidden))
        nodes.append(helper.make_node("Squeeze", [f"y{i}", "direction"], [f"h{i + 1}"]))
    nodes.append(helper.make_node("Transpose", [f"h{len(weights)}"], ["y"], perm=[1, 0, 2]))
    graph = helper.make_graph(
        nodes, "lstm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _load_ours(model: onnx.ModelProto, threads: int) -> Run:
    engine = colonnade.compile(model, threads=threads, fallback="forbid")
    return lambda x: np.asarray(engine.run({"x": x})["y"])


def _load_onnxruntime(model: onnx.ModelProto, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return lambda x: np.asarray(session.run(None, {"x": x})[0])


def _load_torch(weights: list[Weights], threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    hidden = weights[0].r.shape[-1]
    module = torch.nn.LSTM(hidden, hidden, len(weights), batch_first=True).eval()
    with torch.no_grad():
        for i, layer in enumerate(weights):
            wb, rb = np.split(layer.b[0], 2)
            for name, array in (
                ("weight_ih", layer.w[0]), ("weight_hh", layer.r[0]), ("bias_ih", wb),
                ("bias_hh", rb),
            ):  # fmt: skip
                getattr(module, f"{name}_l{i}").copy_(torch.from_numpy(_as_torch(array)))

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(x))[0].numpy())

    return run


def _as_torch(array: np.ndarray) -> np.ndarray:
    """Gates as torch orders them: input, forget, cell, output."""
    to_input, to_output, to_forget, to_cell = np.split(array, 4)
    return np.concatenate([to_input, to_forget, to_cell, to_output])


def _time(
    runs: dict[str, Run], x: np.ndarray, rounds: int, pause_s: float
) -> dict[str, list[float]]:
    """Seconds of each run: one warm-up and two timed ones a turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(pause_s)
            run(x)
            for _ in range(2):
                start = time.perf_counter()
                run(x)
                times[name].append(time.perf_counter() - start)
    return times


def _machine(threads: int) -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "threads": threads,
        "cpus": os.cpu_count(),
        "isa": colonnade._core.best_isa(),
        "python": platform.python_version(),
    }


def _plot(rows: Sequence[dict[str, Any]], threads: int, path: Path) -> None:
    bars = [
        Bar(_say(row), name, 1.0 / ratio, *row["quartiles"][name])
        for row in rows
        for name, ratio in row["ratio"].items()
    ]
    plot_ratios(bars, path, f"LSTM stacks, fp32, {threads} threads", OURS)


def _say(row: dict[str, Any]) -> str:
    return f"{row['layers']} x [{row['batch']}, {STEPS}, {row['hidden']}]"


def _page(document: dict[str, Any]) -> str:
    rows = document["rows"]
    peers = [name for name in (ORT, TORCH) if name in rows[0]["ratio"]]
    best = [min(row["ratio"][peer] for peer in peers) for row in rows]
    means = [f"{geometric_mean(row['ratio'][p] for row in rows):.2f} over {p}" for p in peers]
    return "\n".join([
        f"LSTM, fp32, {document['machine']['threads']} threads ({document['machine']['isa']}): "
        "medians in ms, and how many times faster than each peer.",
        "",
        *_table(
            rows, [OURS, *peers], [f"over {peer}" for peer in peers],
            lambda row: [row["ratio"][peer] for peer in peers],
        ),
        "",
        f"Geometric mean: {', '.join(means)}; {geometric_mean(best):.2f} over the better one of "
        "each row.",
        "",
        "One recurrent layer against the same stack step by step, and 90% of W and R zero.",
        "",
        *_table(
            rows, [OURS, UNROLLED, ORT_UNROLLED, SPARSE],
            ["fused over step by step", "onnxruntime: fused over step by step",
             "90% zeros over dense"],
            _fused_ratios,
        ),
        "",
        PUBLISHED,
        "",
    ])  # fmt: skip


def _fused_ratios(row: dict[str, Any]) -> list[float]:
    ratio = row["ratio"]
    return [
        ratio[UNROLLED],
        ratio[ORT_UNROLLED] / ratio[ORT],
        1.0 / ratio[SPARSE],
    ]


def _table(
    rows: Sequence[dict[str, Any]],
    engines: Sequence[str],
    ratios: Sequence[str],
    find: Callable[[dict[str, Any]], Sequence[float]],
) -> list[str]:
    """Medians of the engines, then the ratios that `find` gives for a row."""
    head = ["layers x input", *engines, *ratios]
    lines = ["| " + " | ".join(head) + " |", "|" + " --: |" * len(head)]
    for row in rows:
        cells = [_say(row), *(f"{row['median_ms'][name]:.1f}" for name in engines)]
        cells += [f"{ratio:.2f}" for ratio in find(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
