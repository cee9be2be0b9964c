"""What the trained text classifiers gain in the engine: accuracy and speed, in float32 and 8 bits.

The dense network and the pruned ones of one seed are exported, quantized (calibrated on training
texts) and compiled; the engine sorts the test texts. All files are timed in turns, beside ONNX
Runtime on the dense float32 one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

import colonnade
from accuracy import minilm
from accuracy.results import Results
from accuracy.texts import TASKS, Texts
from candidates import Candidate, time_in_turns
from colonnade.bench.harness import Schedule
from colonnade.bench.machine import describe_machine
from colonnade.search.folder import run_file
from colonnade.sparsify.export.onnx import export_onnx

TASK = "bbc"
PEER = "onnxruntime"
BATCHES = (1, 16)
CALIBRATION = 64
"""Training texts, in batches of 16."""
ROWS = 16

Feeds = dict[str, np.ndarray]


def run(seed: int, threads: int, seconds: float, results: Results) -> None:
    """Both sizes of batch; what was measured before is replaced."""
    train, test = TASKS[TASK].load()
    files = _make_files(seed, train)
    shares = {name: _accuracy(path, test) for name, path in files.items()}
    dense = files["dense float32"]
    candidates = [Candidate(PEER, PEER, dense)]
    candidates += [Candidate(name, "colonnade", path) for name, path in files.items()]
    for batch in BATCHES:
        found = time_in_turns(candidates, _feeds(test, 0, batch), threads, Schedule(seconds))
        base_ms = found[PEER].median_ms
        for name, measured in found.items():
            entry = {
                "seed": seed,
                "batch": batch,
                "model": name,
                "ms": measured.median_ms,
                "over_onnxruntime": base_ms / measured.median_ms,
                "accuracy": shares.get(name, shares["dense float32"]),
                "machine": {**describe_machine(), "threads": threads},
            }
            results.add(f"{TASK}/{seed}/{batch}/{name}", entry)
            print(f"{batch} {name}: {entry['over_onnxruntime']:.2f} {entry['accuracy']:.3f}")


def _make_files(seed: int, train: Texts) -> Mapping[str, Path]:
    """By name, float32 before 8 bits."""
    budget = minilm.BUDGETS[TASK]
    model = minilm.make_classifier(TASKS[TASK].classes).eval()
    share = budget.stages[-1][0]
    forms = {"dense": f"dense-{budget.dense}x{len(train)}"}
    forms |= {f"{share:.0%} {name}": f"{name}-{share:g}" for name in budget.patterns}
    calibration = [_feeds(train, first, ROWS) for first in range(0, CALIBRATION, ROWS)]
    files: dict[str, Path] = {}
    for name, form in forms.items():
        weights = minilm.weights_path(TASK, seed, form)
        model.load_state_dict(torch.load(weights, weights_only=True))
        files[f"{name} float32"] = path = weights.with_suffix(".onnx")
        _export(model, train, path)
        files[f"{name} int8"] = int8 = path.with_name(f"{path.stem}-int8.onnx")
        colonnade.quantize(path, calibration).save(int8)
    return files


def _export(model: minilm.Classifier, texts: Texts, path: Path) -> None:
    sample = {name: torch.from_numpy(array) for name, array in _feeds(texts, 0, 2).items()}
    axes = {0: "batch", 1: "sequence"}
    export_onnx(model, sample, path, runner=run_file, dynamic=dict.fromkeys(sample, axes))


def _feeds(texts: Texts, first: int, count: int) -> Feeds:
    """Rows of full length."""
    chosen = slice(first, first + count)
    return {
        "input_ids": texts.ids[chosen].numpy(),
        "attention_mask": texts.mask[chosen].numpy(),
    }


def _accuracy(path: Path, texts: Texts) -> float:
    """The share of texts whose class the engine finds."""
    right = 0
    with colonnade.compile(path) as engine:
        for first in range(0, len(texts), ROWS):
            feeds = _feeds(texts, first, ROWS)
            (logits,) = engine.run(feeds).values()
            right += int((logits.argmax(1) == texts.labels[first : first + ROWS].numpy()).sum())
    return right / len(texts)


def speed_table(entries: Sequence[Mapping[str, object]]) -> str:
    """Speed over ONNX Runtime's dense float32, and accuracy in %."""
    if not entries:
        return "Not run yet."
    names = sorted({str(entry["model"]) for entry in entries}, key=_place)
    by_case = {(entry["model"], entry["batch"]): entry for entry in entries}
    lines = [
        "| | accuracy | " + " | ".join(f"batch {batch}" for batch in BATCHES) + " |",
        "|---" * (2 + len(BATCHES)) + "|",
    ]
    for name in names:
        found = [by_case.get((name, batch)) for batch in BATCHES]
        right = next(float(str(one["accuracy"])) for one in found if one)
        cells = [
            f"{float(str(one['over_onnxruntime'])):.2f}x ({float(str(one['ms'])):.2f} ms)"
            if one
            else "-"
            for one in found
        ]
        lines.append(f"| {name} | {100 * right:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _place(name: str) -> tuple[bool, bool, str]:
    """The peer first, then what is dense."""
    return name != PEER, not name.startswith("dense"), name
