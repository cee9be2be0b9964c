"""Measure a suite: python benchmarks/measure.py dense. Results are kept case by case.

Writes benchmarks/results/SUITE.json and docs/img/SUITE.png. An engine of another virtual
environment takes part when COLONNADE_PEER_<NAME>_PYTHON names its interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import models
from colonnade.bench.compare import Comparison, Feed, Workload, compare_engines
from colonnade.bench.harness import Schedule
from colonnade.bench.report import to_document
from colonnade.bench.suite import Case, Suite, collect, draw, load_suite, table_rows
from colonnade.cli.console import Console, plain_data
from colonnade.errors import ColonnadeError

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "docs" / "img"
BUSY_LOAD = 0.5
"""Load average per CPU above which timings are doubtful."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the chosen cases; 0 when all of them ran and their answers agreed."""
    chosen = _parse(arguments)
    suite = _adjust(load_suite(HERE / f"{chosen.suite}.toml"), chosen)
    path = chosen.results / f"{suite.name}.json"
    documents = _kept(path)
    console = Console()
    if chosen.draw:
        draw(collect(suite, documents), chosen.images / f"{suite.name}.png")
        return 0
    _warn_if_busy(console)
    is_good = True
    for case in suite.cases:
        if chosen.case in case.name:
            is_good = _measure_case(suite, case, documents, console) and is_good
            _write(path, collect(suite, documents))
    collected = collect(suite, documents)
    columns = ("case", "engine", "median ms", "ours / it", "middle half", "max abs error")
    console.table(columns, table_rows(collected), numeric=("median ms", "ours / it"))
    for peer, mean in collected["geometric_means"].items():
        console.line(f"geometric mean over {peer}: {mean:.3f}")
    if collected["ratios"] and not chosen.smoke:
        draw(collected, chosen.images / f"{suite.name}.png")
    return 0 if is_good else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure a declared suite.")
    parser.add_argument("suite", nargs="?", default="dense", help="name of a .toml file here")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--seconds", type=float, help="seconds for each engine of a case")
    parser.add_argument("--peers", help="other peers than the suite's, separated by commas")
    parser.add_argument("--smoke", action="store_true", help="one round: does everything run?")
    parser.add_argument("--draw", action="store_true", help="only draw the results there are")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--images", type=Path, default=IMAGES)
    return parser.parse_args(arguments)


def _adjust(suite: Suite, chosen: argparse.Namespace) -> Suite:
    if chosen.peers is not None:
        suite = replace(suite, peers=tuple(name for name in chosen.peers.split(",") if name))
    if chosen.seconds is not None:
        suite = replace(suite, schedule=replace(suite.schedule, seconds=chosen.seconds))
    if chosen.smoke:
        suite = replace(suite, schedule=Schedule(0.0, 0.0, rounds_min=1), with_memory=False)
    return suite


def _kept(path: Path) -> dict[str, Any]:
    """Cases measured before; a new measurement of one replaces it."""
    if not path.exists():
        return {}
    kept: dict[str, Any] = json.loads(path.read_text())["cases"]
    return kept


def _measure_case(suite: Suite, case: Case, documents: dict[str, Any], console: Console) -> bool:
    """Measure one case into `documents`; False when it failed or the answers disagree."""
    print(f"{suite.name}: {case.name}", file=sys.stderr, flush=True)
    try:
        with console.progress() as progress:
            progress(f"building {case.model}", None)
            workload = Workload(
                model=models.build(case.model),
                engines=suite.engines,
                threads=suite.threads,
                schedule=suite.schedule,
                skip_failed=True,
                with_memory=suite.with_memory,
            )
            arrays = models.inputs(case.model, case.batch, case.seq)
            found = compare_engines(workload, lambda _: Feed(arrays, case.batch), progress)
    except (
        ColonnadeError,
        models.PackageUnavailableError,
        models.PackageCorruptError,
        models.LibraryMissingError,
    ) as error:
        console.error(f"error: {case.name}: {error}")
        return False
    documents[case.name] = plain_data(to_document(found))
    _report(found, console)
    return found.is_agreed


def _report(found: Comparison, console: Console) -> None:
    for note in found.notes:
        console.note(note)
    for name, reason in found.failures.items():
        console.note(f"{name} was left out: {reason}")
    if not found.is_agreed:
        console.error("error: the engines' answers disagree")


def _write(path: Path, collected: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(collected, indent=2, allow_nan=False) + "\n")
    part.replace(path)


def _warn_if_busy(console: Console) -> None:
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if load > BUSY_LOAD:
        console.note(f"the machine is busy (load {load:.1f} per CPU): timings are doubtful")


if __name__ == "__main__":
    sys.exit(main())
