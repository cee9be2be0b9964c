"""Declared sets of measurements (benchmarks/*.toml), their results and their picture."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colonnade.bench.harness import Schedule
from colonnade.bench.peers import ENGINE_NAMES
from colonnade.bench.plot import Bar, plot_ratios
from colonnade.bench.summary import geometric_mean
from colonnade.errors import InputError

OWN = "colonnade"
_SUITE_KEYS = {
    "title",
    "baseline",
    "peers",
    "threads",
    "seconds",
    "warm_up_s",
    "memory",
    "cases",
}
_CASE_KEYS = {"model", "batch", "seq"}


@dataclass(frozen=True)
class Case:
    """One model with one size of its inputs."""

    model: str
    batch: int
    seq: int | None = None
    """What it counts is the model's affair: tokens, pixels; None: the model's default."""

    @property
    def name(self) -> str:
        """As in tables and pictures."""
        size = "" if self.seq is None else f", seq {self.seq}"
        return f"{self.model}{size}, batch {self.batch}"


@dataclass(frozen=True)
class Suite:
    """Cases that are measured alike. `peers` take part where they are installed."""

    name: str
    title: str
    baseline: str
    peers: tuple[str, ...]
    threads: int
    schedule: Schedule
    with_memory: bool
    cases: tuple[Case, ...]

    @property
    def engines(self) -> tuple[str, ...]:
        """This engine, the baseline, the other peers."""
        return (OWN, self.baseline, *self.peers)


def load_suite(path: Path) -> Suite:
    """Read a suite; its name is the file's. Raises InputError for what is not understood."""
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such suite") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: {error}") from error
    _refuse_unknown(path, data, _SUITE_KEYS)
    baseline, peers = data.get("baseline", "onnxruntime"), tuple(data.get("peers", ()))
    for engine in (baseline, *peers):
        if engine not in ENGINE_NAMES:
            raise InputError(f"{path}: unknown engine {engine!r}; known: {', '.join(ENGINE_NAMES)}")
    return Suite(
        name=path.stem,
        title=data.get("title", path.stem),
        baseline=baseline,
        peers=peers,
        threads=data.get("threads", 1),
        schedule=Schedule(data.get("seconds", 10.0), data.get("warm_up_s", 2.0)),
        with_memory=data.get("memory", False),
        cases=tuple(_cases(path, data.get("cases", []))),
    )


def _cases(path: Path, entries: Sequence[Mapping[str, Any]]) -> Iterator[Case]:
    for entry in entries:
        _refuse_unknown(path, entry, _CASE_KEYS)
        if "model" not in entry:
            raise InputError(f"{path}: a case names its model")
        for batch in entry.get("batch", [1]):
            yield Case(entry["model"], batch, entry.get("seq"))


def _refuse_unknown(path: Path, data: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(data) - known)
    if unknown:
        raise InputError(f"{path}: unknown keys {unknown}; known: {sorted(known)}")


def collect(suite: Suite, documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All documents of a suite (by case name) as one: flat `results` and `ratios`, means."""
    ordered = [case.name for case in suite.cases if case.name in documents]
    ratios = [{"case": name, **ratio} for name in ordered for ratio in documents[name]["ratios"]]
    peers = dict.fromkeys(ratio["peer"] for ratio in ratios)
    return {
        "suite": suite.name,
        "title": suite.title,
        "baseline": suite.baseline,
        "results": [
            {"case": name, **row} for name in ordered for row in documents[name]["results"]
        ],
        "ratios": ratios,
        "geometric_means": {
            peer: geometric_mean([r["ratio"] for r in ratios if r["peer"] == peer])
            for peer in peers
        },
        "cases": {name: dict(documents[name]) for name in ordered},
    }


def bars_of(collected: Mapping[str, Any]) -> list[Bar]:
    """Throughput of every engine relative to the baseline's, for the picture."""
    baseline = collected["baseline"]
    ratios = {(ratio["case"], ratio["peer"]): ratio for ratio in collected["ratios"]}
    bars = []
    for row in collected["results"]:
        own = ratios.get((row["case"], baseline))
        if own is None or row["engine"] == baseline:
            continue
        if row["engine"] == own["engine"]:
            bars.append(Bar(row["case"], row["engine"], own["ratio"], own["low"], own["high"]))
        else:
            share = own["ratio"] / ratios[row["case"], row["engine"]]["ratio"]
            bars.append(Bar(row["case"], row["engine"], share, share, share))
    return bars


def draw(collected: Mapping[str, Any], path: Path) -> None:
    """The picture of a suite's results."""
    plot_ratios(bars_of(collected), path, collected["title"], collected["baseline"])


def table_rows(collected: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Case, engine, median, ratio of this engine over it, spread, error: one row per engine."""
    ratios = {(ratio["case"], ratio["peer"]): ratio for ratio in collected["ratios"]}
    rows: list[tuple[str, ...]] = []
    for row in collected["results"]:
        ratio = ratios.get((row["case"], row["engine"]))
        spread = f"{ratio['low']:.3f} to {ratio['high']:.3f}" if ratio else ""
        error = row["max_abs_error"]
        rows.append(
            (
                row["case"],
                row["engine"],
                f"{row['median_ms']:.3f}",
                f"{ratio['ratio']:.3f}" if ratio else "",
                spread,
                "" if error is None else f"{error:.2g}" if isinstance(error, float) else error,
            )
        )
    return rows
