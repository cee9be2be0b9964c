"""The options of `colonnade benchmark` that impose zeros on a model, and its sweep over levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from colonnade.bench.compare import Workload
from colonnade.bench.impose import STRUCTURES, UNSTRUCTURED, level_of, verify_level
from colonnade.bench.imposed import Imposition
from colonnade.bench.plot import plot_sweep
from colonnade.bench.sweep import LEVELS, MakeFeed, Sweep, SweepResult, run_sweep
from colonnade.bench.sweep_report import (
    break_even_lines,
    sweep_csv,
    sweep_document,
    sweep_table,
)
from colonnade.cli.console import Console, plain_data
from colonnade.cli.exits import ExitCode
from colonnade.cli.model import is_saved_plan
from colonnade.cli.output_files import OutputFiles, write_json
from colonnade.errors import InputError

ImposeOption = Annotated[
    float | None,
    typer.Option(
        "--impose-sparsity",
        help="Share of weights to set to zero by magnitude before any engine gets the model: 0.9.",
    ),
]
StructureOption = Annotated[
    str | None,
    typer.Option(
        "--structure",
        help=f"How the zeros lie: {', '.join(STRUCTURES)}. W[M, K] has a row for each output "
        "feature: 1x4 is 4 input features of one output feature, n:m keeps n of m input features.",
    ),
]
KeepDenseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-dense",
        help="A weight or node that gets no zeros, with wildcards; repeatable. The first "
        "convolution, depthwise ones, embeddings and small weights never get any.",
    ),
]
SweepOption = Annotated[
    bool,
    typer.Option("--sparsity-sweep", help="Time the model at many levels of sparsity, in turns."),
]
SweepLevelsOption = Annotated[
    str | None,
    typer.Option(
        "--sweep-levels",
        help=f"The levels, separated by commas; {','.join(f'{level:g}' for level in LEVELS)} "
        "by default.",
    ),
]


@dataclass(frozen=True)
class SparsityOptions:
    """What the command line says of zeros."""

    level: float | None
    structure: str | None
    dense: Sequence[str]
    is_sweep: bool
    sweep_levels: str | None


@dataclass(frozen=True)
class SweepRequest:
    """Levels to time."""

    levels: tuple[float, ...]
    structure: str
    dense: tuple[str, ...]


def read_request(options: SparsityOptions, model: Path) -> Imposition | SweepRequest | None:
    """What to impose, None for nothing; InputError for options that contradict each other."""
    is_sweep = options.is_sweep or options.sweep_levels is not None
    if options.level is None and options.structure is None and not is_sweep:
        if options.dense:
            raise InputError("--keep-dense needs --impose-sparsity or --sparsity-sweep")
        return None
    structure = options.structure or UNSTRUCTURED
    if structure not in STRUCTURES:
        verify_level(0.0, structure)
    if is_saved_plan(model):
        raise InputError(
            f"{model}: zeros cannot be imposed on a saved plan, whose weights are packed; give the "
            "ONNX file"
        )
    if is_sweep:
        return _read_sweep(options, structure)
    level = level_of(structure) if options.level is None else options.level
    if level is None:
        raise InputError(
            f"--structure {structure} takes any level: add --impose-sparsity 0.9, or "
            "--sparsity-sweep"
        )
    return Imposition(level, structure, tuple(options.dense))


def _read_sweep(options: SparsityOptions, structure: str) -> SweepRequest:
    if options.level is not None:
        raise InputError(
            "--impose-sparsity asks for one level and --sparsity-sweep for many: give one of them"
        )
    if level_of(structure) is not None:
        raise InputError(
            f"--structure {structure} has one level: use --impose-sparsity {level_of(structure):g},"
            " or sweep unstructured, 1x4 or 4x1"
        )
    levels: tuple[float, ...] = LEVELS
    if options.sweep_levels is not None:
        levels = tuple(_level(text) for text in options.sweep_levels.split(","))
    for level in levels:
        verify_level(level, structure)
    return SweepRequest(levels, structure, tuple(options.dense))


def _level(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--sweep-levels: {text!r} is no number; write 0,0.5,0.9") from None


def sweep(
    request: SweepRequest,
    workload: Workload,
    make_feed: MakeFeed,
    console: Console,
    files: OutputFiles,
) -> None:
    """Run the sweep, show and write what it found."""
    _verify_sweep(workload)
    plan = Sweep(workload, request.levels, request.structure, request.dense)
    with console.progress() as progress:
        found = run_sweep(plan, make_feed, progress)
    document = plain_data(sweep_document(found))
    _show(console, found)
    console.document(document)
    write_json(files.json, document)
    if files.csv is not None:
        files.csv.write_text(sweep_csv(document["results"]))
    if files.plot is not None:
        plot_sweep(document, files.plot)
    if not found.is_agreed:
        console.error(f"error: answers disagree at sparsity {_disagreeing(found)}")
        raise typer.Exit(ExitCode.DISAGREEMENT)


def _verify_sweep(workload: Workload) -> None:
    for option, is_asked in (
        ("--trace", workload.with_trace),
        ("--per-layer", workload.with_layers),
        ("--memory", workload.with_memory),
    ):
        if is_asked:
            raise InputError(
                f"{option} is for one model: use it with --impose-sparsity, not a sweep"
            )


def _show(console: Console, found: SweepResult) -> None:
    for note in (*found.notes, str(found.imposed)):
        console.note(note)
    for name, reason in found.failures.items():
        console.note(f"{name} was left out: {reason}")
    columns, rows = sweep_table(found)
    console.table(columns, rows, columns)
    for line in break_even_lines(found):
        console.line(line)


def _disagreeing(found: SweepResult) -> str:
    return ", ".join(
        f"{point.level:g} ({point.engine}: {point.agreement.max_abs_error:.3g}, allowed "
        f"{point.agreement.tolerance:.3g})"
        for point in found.points
        if point.agreement is not None and not point.agreement.is_close
    )
