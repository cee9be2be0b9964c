"""Compare a model with and without stripes: python benchmarks/stripes.py MODEL.onnx --batch 16.

Both engines run in turn in one process. First the median and the least time of a run, and the process's
own CPU time (with --threads 1 it leaves out what others do on the machine); then the least time that the
threads spent in the calls of each stripe, beside the same calls one by one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

import colonnade

MODES = ("auto", "off")
OTHERS = -1
"""Number under which the calls outside of stripes are summed."""

Feeds = Mapping[str, np.ndarray]


def main() -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=128, help="every other symbolic dimension")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    engines = [compile_with(chosen.model, chosen.threads, mode) for mode in MODES]
    feeds = make_feeds(engines[0], chosen.batch, chosen.length)
    for engine in engines:
        engine.run(feeds)
    report_runs(engines, feeds, chosen.seconds / 2)
    report_stripes(engines, feeds, chosen.seconds / 2)


def compile_with(model: str, threads: int, mode: str) -> colonnade.Engine:
    """An engine whose plans have stripes, or none; made for its shapes at its first run."""
    os.environ["COLONNADE_STRIPES"] = mode
    return colonnade.compile(model, threads=threads)


def make_feeds(engine: colonnade.Engine, batch: int, length: int) -> Feeds:
    """Normal floats; integers are ones, which any table and mask takes."""
    random = np.random.default_rng(0)
    feeds = {}
    for info in engine.inputs:
        sizes = [batch, *(length for _ in (info.shape or ())[1:])]
        dims = zip(info.shape or (), sizes, strict=True)
        shape = [dim if isinstance(dim, int) else size for dim, size in dims]
        is_float = np.issubdtype(info.dtype, np.floating)
        array = random.standard_normal(shape) if is_float else np.ones(shape)
        feeds[info.name] = array.astype(info.dtype)
    return feeds


def report_runs(engines: list[colonnade.Engine], feeds: Feeds, seconds: float) -> None:
    """Time whole runs."""
    times: list[list[float]] = [[], []]
    cpu_times: list[list[float]] = [[], []]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for engine, found, cpu_found in zip(engines, times, cpu_times, strict=True):
            start, cpu_start = time.perf_counter(), time.process_time()
            engine.run(feeds)
            found.append(1e3 * (time.perf_counter() - start))
            cpu_found.append(1e3 * (time.process_time() - cpu_start))
    median = statistics.median
    for name, pick, pair in (
        ("median", median, times), ("least", min, times), ("CPU median", median, cpu_times),
    ):  # fmt: skip
        on, off = pick(pair[0]), pick(pair[1])
        print(f"{name}: {on:.2f} ms with stripes, {off:.2f} without, {off / on:.3f} times as fast")


def report_stripes(engines: list[colonnade.Engine], feeds: Feeds, seconds: float) -> None:
    """Time that the threads spend in the calls of each stripe."""
    stripes = engines[0].explain().stripes
    stripe_of = {call: i for i, stripe in enumerate(stripes) for call in stripe.calls}
    least: list[dict[int, float]] = [{}, {}]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for engine, found in zip(engines, least, strict=True):
            for number, spent in _thread_ms(engine, feeds, stripe_of).items():
                found[number] = min(found.get(number, spent), spent)
    for number in sorted(least[0]):
        on, off = least[0][number], least[1][number]
        what = "others"
        if number != OTHERS:
            stripe = stripes[number]
            what = f"stripe {number}, {len(stripe.calls)} calls from {stripe.calls[0]}"
        print(f"{on:9.2f} ms of threads, {off:9.2f} without, {off / on:.3f}: {what}")


def _thread_ms(
    engine: colonnade.Engine, feeds: Feeds, stripe_of: Mapping[str, int]
) -> dict[int, float]:
    spent: dict[int, float] = defaultdict(float)
    for event in engine.trace(feeds):
        spent[stripe_of.get(event["name"], OTHERS)] += event["dur_us"] / 1e3
    return spent


if __name__ == "__main__":
    main()
