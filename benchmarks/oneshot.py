"""One-shot pruning of EfficientNet-Lite0: methods at several sparsities, from ONNX or from torch.

Calibrates on crops of 12 photos, and compares the logits with the dense model's
on views of 8 other photos:

    ./dev models build efficientnet_lite0_direct
    python benchmarks/oneshot.py --sources onnx torch --out benchmarks/results/oneshot.json

Rows that the file holds already stay, unless they are measured again: so that a run can be split.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from colonnade.pruning import PrunedModel, prune_many
from colonnade.pruning.prune import DAMPING
from colonnade.sparsity import Method
from models import catalogue, packages
from models.requirements import require
from models.samples.photos import PACKAGE, SIDE, photos

MODEL = "efficientnet_lite0_direct"
SPARSITIES = (0.3, 0.5, 0.6, 0.7, 0.8)
CALIBRATION_PHOTOS = 12
CROPS = 6
VIEWS = 4
"""Of each photo that is compared: the whole one and crops."""
LEAST_SHARE = 0.6
"""Of a photo's sides in a crop."""

Samples = list[dict[str, np.ndarray]]
Split = tuple[Samples, Samples]
Row = dict[str, Any]


def main() -> None:
    """Measure and print; with --out, write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", choices=get_args(Method), default=get_args(Method))
    parser.add_argument("--pattern", default="unstructured")
    parser.add_argument("--sparsities", nargs="+", type=float, default=SPARSITIES)
    parser.add_argument("--damping", type=float, default=DAMPING)
    parser.add_argument("--reversed", action="store_true",
                        help="photos in the other order: others calibrate, others are compared")  # fmt: skip
    parser.add_argument("--sources", nargs="+", choices=tuple(MEASURE), default=["onnx"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = json.loads(options.out.read_text()) if options.out and options.out.exists() else []
    for source, method in itertools.product(options.sources, options.methods):
        measure = MEASURE[source]
        samples = read_samples(is_reversed=options.reversed)
        made = measure(method, options.pattern, options.sparsities, options.damping, samples)
        for row in made:
            row["photos"] = "reversed" if options.reversed else "in order"
        rows = merge(rows, made)
        if options.out is not None:
            options.out.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n".join(table(rows)))


def merge(rows: Sequence[Row], made: Sequence[Row]) -> list[Row]:
    """All rows in one order; of two that measure the same, the one in `made`."""
    return [row for _, row in sorted({_key(row): row for row in (*rows, *made)}.items())]


def table(rows: Sequence[Row]) -> list[str]:
    """The rows in Markdown."""
    lines = [
        "| from | photos | method | damping | sparsity | layer error | logit MSE | SQNR dB | same top-1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['source']} | {row.get('photos', 'in order')} | {row['method']} | {row['damping']:g} | {row['sparsity']:.0%} "
        f"| {row['layer_error']:.4f} | {row['mse']:.3f} | {row['sqnr_db']:.1f} "
        f"| {row['agreement']:.0%} |"
        for row in rows
    ]
    return lines


def _measure(
    method: Method, pattern: str, sparsities: Sequence[float], damping: float, samples: Split
) -> list[Row]:
    start = time.process_time()
    calibration, validation = samples
    made = prune_many(
        catalogue.build(MODEL), calibration, sparsities,
        pattern=pattern, method=method, damping=damping, validation=validation,
    )  # fmt: skip
    seconds = time.process_time() - start
    return [_row(method, pattern, damping, model, seconds) for model in made]


def _row(method: Method, pattern: str, damping: float, model: PrunedModel, cpu_s: float) -> Row:
    (output,) = model.report.outputs
    errors = [layer.error for layer in model.report.layers if layer.error is not None]
    return {
        "source": "onnx", "damping": damping, "method": method, "pattern": pattern,
        "sparsity": model.report.sparsity,
        "mse": output.mse, "sqnr_db": output.sqnr_db, "agreement": output.agreement,
        "layer_error": float(np.mean(errors)), "cpu_s_of_all_points": round(cpu_s, 1),
    }  # fmt: skip


def _measure_torch(
    method: Method, pattern: str, sparsities: Sequence[float], damping: float, samples: Split
) -> list[Row]:
    """As `_measure`, in batches of the photos' crops, with batch normalisation re-estimated."""
    import torch

    from colonnade.sparsify.oneshot.prune import oneshot
    from models.builders.efficientnet import load

    calibration, validation = (
        torch.from_numpy(np.concatenate([sample["input"] for sample in part])) for part in samples
    )
    with torch.no_grad():
        exact = load()(validation)
    rows = []
    for sparsity in sparsities:
        start = time.process_time()
        model = load()
        results = oneshot(
            model, list(calibration.split(CROPS)),
            sparsity=sparsity, pattern=pattern, method=method, damping=damping,
        )  # fmt: skip
        with torch.no_grad():
            answers = model(validation)
        mse = float((answers - exact).square().mean())
        rows.append({
            "source": "torch", "damping": damping, "method": method, "pattern": pattern,
            "sparsity": float(np.mean([result.sparsity for result in results])), "mse": mse,
            "sqnr_db": float(10 * np.log10(float(exact.square().mean()) / mse)),
            "agreement": float((answers.argmax(1) == exact.argmax(1)).float().mean()),
            "layer_error": float(np.mean([result.error for result in results])),
            "cpu_s": round(time.process_time() - start, 1),
        })  # fmt: skip
    return rows


MEASURE = {"onnx": _measure, "torch": _measure_torch}


def _key(row: Row) -> tuple[Any, ...]:
    """What a row is a measurement of; two sparsities are the same where they round to one."""
    order = get_args(Method).index(row["method"])
    photos_used = row.get("photos", "in order")
    return (
        photos_used,
        row["source"],
        row["pattern"],
        row["damping"],
        order,
        round(row["sparsity"], 2),
    )


def read_samples(*, is_reversed: bool = False) -> Split:
    """Calibration crops, and views of photos that calibration does not see."""
    files = [packages.read(PACKAGE, photo.file) for photo in photos()]
    files = files[::-1] if is_reversed else files
    rng = np.random.default_rng(0)
    calibration = [_crop(data, rng) for data in files[:CALIBRATION_PHOTOS] for _ in range(CROPS)]
    validation = [_crop(data, rng, whole=view == 0)
                  for data in files[CALIBRATION_PHOTOS:] for view in range(VIEWS)]  # fmt: skip
    return calibration, validation


def _crop(data: bytes, rng: np.random.Generator, *, whole: bool = False) -> dict[str, np.ndarray]:
    """One view, scaled as EfficientNet-Lite was trained: (x - 127) / 128."""
    image_module = require("PIL.Image", "reading a photo")
    image = image_module.open(io.BytesIO(data)).convert("RGB")
    if not whole:
        side = round(min(image.size) * rng.uniform(LEAST_SHARE, 1.0))
        left, top = (int(rng.integers(0, extent - side + 1)) for extent in image.size)
        image = image.crop((left, top, left + side, top + side))
    pixels = np.asarray(image.resize((SIDE, SIDE), image_module.Resampling.BICUBIC), np.float32)
    if not whole and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    scaled = (pixels.transpose(2, 0, 1)[None] - np.float32(127)) / np.float32(128)
    return {"input": np.ascontiguousarray(scaled)}


if __name__ == "__main__":
    main()
