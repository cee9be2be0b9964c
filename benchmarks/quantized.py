"""Models in 8 bits against other engines: python benchmarks/quantized.py [MODEL ...].

Each model is quantized by ONNX Runtime (static, QDQ, uint8 activations, int8 weights by channel,
calibrated on the model's own sample inputs) and every engine runs that file, in turns; our float32 plan of the original model runs apart. Answers of engines that round 8-bit values
differently drift apart by many steps in deep models, so they are not compared here: tests/accuracy
compares layer by layer. Writes benchmarks/results/quantized.json and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
import onnx

import models

RESULTS = Path(__file__).resolve().parent / "results" / "quantized.json"
MODELS = ("resnet50", "bert_base", "efficientnet_lite0", "minilm_l6")
LENGTH = 128
PRODUCTS = ["MatMul", "Gemm"]
"""What is quantized in models of text: as ONNX Runtime's own tools do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything; 0 when done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--peers", default="onnxruntime", help="as `benchmark --compare`")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    chosen = parser.parse_args(arguments)
    peers = chosen.peers.split(",")
    rows = [
        measure(name, int(batch), chosen)
        for name in chosen.models
        for batch in chosen.batches.split(",")
    ]
    print_table(rows, peers)
    RESULTS.write_text(json.dumps({"threads": chosen.threads, "rows": rows}, indent=2) + "\n")
    return 0


def measure(name: str, batch: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Medians in milliseconds by engine, and "float32" for our float32 plan."""
    print(f"{name}, batch {batch} ...", file=sys.stderr)
    original = models.build(name)
    medians = benchmark(quantize(name), batch, chosen, ["--compare", chosen.peers])
    medians["float32"] = benchmark(original, batch, chosen, [])["colonnade"]
    return {"model": name, "batch": batch, "median_ms": medians}


def quantize(name: str) -> Path:
    """The model's 8-bit file, made once."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = models.cache_dir() / "models" / f"{name}-u8s8.onnx"
    if path.exists():
        return path
    feeds = [dict(models.inputs(name, 1, None if is_image(models.build(name)) else LENGTH))]

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # its base has no types
        def __init__(self) -> None:
            self.items: Iterator[dict[str, np.ndarray]] = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.items, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(models.build(name), prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, path, Reader(), activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, per_channel=True,
            op_types_to_quantize=None if is_image(models.build(name)) else PRODUCTS,
        )  # fmt: skip
    onnx.checker.check_model(str(path))
    return path


def benchmark(
    path: Path, batch: int, chosen: argparse.Namespace, options: list[str]
) -> dict[str, float]:
    """Medians of `colonnade benchmark` by engine; it exits with an error where answers differ."""
    command = [
        sys.executable, "-m", "colonnade.cli", "benchmark", str(path), "--batch-size", str(batch),
        "--threads", str(chosen.threads), "--time", str(chosen.seconds), "--json", "--quiet",
        *options, *([] if is_image(path) else ["--sequence-length", str(LENGTH)]),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout:
        raise SystemExit(done.stderr)
    document = json.loads(done.stdout)
    return {row["engine"]: row["median_ms"] for row in document["results"]}


def is_image(path: Path) -> bool:
    """True for models of four-dimensional inputs."""
    first = onnx.load(path, load_external_data=False).graph.input[0].type
    return len(first.tensor_type.shape.dim) == 4


def print_table(rows: Sequence[dict[str, Any]], peers: Sequence[str]) -> None:
    """Ratios of throughput, ours over theirs."""
    others = [*peers, "float32"]
    print("| model | batch | ms | " + " | ".join(f"against {name}" for name in others) + " |")
    print("|---" * (3 + len(others)) + "|")
    for row in rows:
        medians = row["median_ms"]
        gains = [f"{medians[name] / medians['colonnade']:.2f}" for name in others]
        cells = [row["model"], row["batch"], f"{medians['colonnade']:.2f}", *gains]
        print("| " + " | ".join(str(cell) for cell in cells) + " |")
    for name in others:
        mean = geometric_mean(
            row["median_ms"][name] / row["median_ms"]["colonnade"] for row in rows
        )
        print(f"geometric mean against {name}: {mean:.3f}")


if __name__ == "__main__":
    raise SystemExit(main())
