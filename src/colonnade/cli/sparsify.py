"""colonnade sparsify: make a trained model sparse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from colonnade.cli.console import Console, mib
from colonnade.cli.exits import reported_errors
from colonnade.cli.model import is_saved_plan, verify_folder
from colonnade.cli.options import (
    BatchOption,
    CalibrationOption,
    DebugOption,
    ImageOption,
    ImageSpecOption,
    JsonOption,
    QuietOption,
    SamplesOption,
    ThreadsOption,
    TokenizerOption,
    TokensOption,
)
from colonnade.cli.quantize import read_pairs
from colonnade.cli.sparsify_analysis import (
    analysis_rows,
    analysis_summary,
    read_analysis,
    verify_report,
    write_analysis,
)
from colonnade.cli.sparsify_report import COLUMNS, NUMERIC, layer_row, summary, write_json
from colonnade.errors import InputError
from colonnade.pruning import Report, prune
from colonnade.pruning.prune import DAMPING
from colonnade.quantization import Reading
from colonnade.quantization.data.images import read_spec
from colonnade.quantization.data.open import LENGTH_MAX
from colonnade.search import Found, Target, analyze, open_subject, search

app = typer.Typer(help="Make a trained model sparse.", no_args_is_help=True)

_MODEL_HELP = (
    "A trained float32 ONNX file; or, with torch, a Hugging Face folder of a text model, or "
    "module:function, which returns a torch module and a sample of its inputs."
)


@app.command("oneshot")
def oneshot(
    model: Annotated[Path, typer.Argument(help=_MODEL_HELP)],
    calibration: CalibrationOption,
    sparsity: Annotated[
        float | None,
        typer.Option("--sparsity", help="Share of weights that become 0; N:M brings its own."),
    ] = None,
    pattern: Annotated[
        str,
        typer.Option(
            "--pattern",
            help="unstructured, N:M as 2:4, blocks of outputs x inputs as 1x4, channel or filter.",
        ),
    ] = "unstructured",
    method: Annotated[
        Literal["magnitude", "wanda", "sparsegpt", "obc"],
        typer.Option("--method", help="obc keeps most and takes longest."),
    ] = "obc",
    allocation: Annotated[
        Literal["uniform", "erk", "owl", "global", "sensitivity", "measured"],
        typer.Option(
            "--allocation",
            help="How layers share the sparsity; measured: by their sensitivity, one at a time.",
        ),
    ] = "uniform",
    target_speedup: Annotated[
        float | None,
        typer.Option(
            "--target-speedup",
            help="How many times as fast as the dense model, in place of --sparsity: the layers' "
            "cost and sensitivity are measured, and the result end to end.",
        ),
    ] = None,
    target_latency_ms: Annotated[
        float | None, typer.Option("--target-latency-ms", help="The same in milliseconds.")
    ] = None,
    analysis: Annotated[
        Path | None,
        typer.Option(
            "--analysis", help="What `analyze --report FILE.json` wrote; measured anew without it."
        ),
    ] = None,
    batch_size: BatchOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; MODEL-sparse.onnx by default."),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", help="A node to prune, * for any; repeatable; all by default."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", help="A node to leave dense, * for any; repeatable."),
    ] = None,
    depthwise: Annotated[
        bool, typer.Option("--depthwise", help="Prune depthwise convolutions, too.")
    ] = False,
    sequential: Annotated[
        bool,
        typer.Option("--sequential", help="Calibrate layers on what pruned ones make; slower."),
    ] = False,
    correct: Annotated[
        bool,
        typer.Option("--correct/--no-correct", help="Let biases take up changes of the mean."),
    ] = True,
    damping: Annotated[
        float,
        typer.Option("--damping", help="More trusts the data less: of a Hessian's mean diagonal."),
    ] = DAMPING,
    validation: Annotated[
        str | None,
        typer.Option("--validation", metavar="DATA", help="Compare on this data instead."),
    ] = None,
    samples: SamplesOption = None,
    image_spec: ImageSpecOption = None,
    image: ImageOption = None,
    tokenizer: TokenizerOption = None,
    sequence_length: TokensOption = LENGTH_MAX,
    report: Annotated[Path | None, typer.Option("--report", help="Write a report: .json.")] = None,
    threads: ThreadsOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Prune an ONNX file without training; all that is not pruned stays bit for bit."""
    console = Console(json_output, quiet)
    with reported_errors(console, debug=debug):
        target = _choose_output(model, output)
        model, tokenizer = as_file(model, tokenizer, target.parent)
        if report is not None and report.suffix != ".json":
            raise InputError(f"{report}: a report is .json")
        verify_folder(report)
        reading = Reading(
            read_spec(image_spec, read_pairs(image or ())), tokenizer, sequence_length
        )
        wanted = choose_target(sparsity, target_speedup, target_latency_ms, allocation)
        if wanted is not None:
            _verify_search({
                "--layer": layers, "--depthwise": depthwise, "--sequential": sequential,
                "--no-correct": not correct, "--validation": validation,
                "--damping": damping != DAMPING,
            })  # fmt: skip
            known = None if analysis is None else read_analysis(analysis)
            subject = open_subject(
                model, calibration, pattern=pattern, method=method, exclude=exclude or (),
                reading=reading, samples_max=samples, threads=threads, batch=batch_size,
            )  # fmt: skip
            with console.progress() as progress:
                found = search(subject, wanted, known, progress)
                found.pruned.save(target)
            if report is not None:
                write_json(report, found.pruned.report, {"search": found.to_dict()})
                console.note(f"report written to {report}")
            _show(console, found.pruned.report, model, target, found)
            return
        assert allocation != "measured"
        with console.progress() as progress:
            made = prune(
                model, calibration,
                sparsity=sparsity, pattern=pattern, method=method, allocation=allocation,
                layers=layers or (), exclude=exclude or (), depthwise=depthwise,
                sequential=sequential, correct=correct, damping=damping, validation=validation,
                reading=reading, samples_max=samples, threads=threads, progress=progress,
            )  # fmt: skip
            made.save(target)
        if report is not None:
            write_json(report, made.report)
            console.note(f"report written to {report}")
        _show(console, made.report, model, target)


def _choose_output(model: Path, output: Path | None) -> Path:
    """Where the file goes; raises InputError for what cannot be pruned or written."""
    if not _is_function(model) and not model.is_dir() and is_saved_plan(model):
        raise InputError(f"{model}: a saved plan; expected a float32 ONNX file")
    target = output or model.with_name(f"{_stem(model)}-sparse.onnx")
    if target.resolve() == model.resolve():
        raise InputError(f"{target}: the sparse model would replace the dense one")
    verify_folder(target)
    return target


def _is_function(model: Path) -> bool:
    """Whether it is module:function and no file."""
    return not model.exists() and ":" in model.name


def _stem(model: Path) -> str:
    """The name of what is written: of a file, a folder, or the function in module:function."""
    return model.name.rpartition(":")[2] if _is_function(model) else model.stem


def as_file(model: Path, tokenizer: Path | None, place: Path) -> tuple[Path, Path | None]:
    """An ONNX file as it is; of a folder or a function, its export beside the output. The tokenizer
    of a folder is its own."""
    if model.is_dir():
        from colonnade.search.folder import export_folder  # loads torch

        made = export_folder(model, place / f"{model.resolve().name}.onnx")
        own = model / "tokenizer.json"
        return made, tokenizer or (own if own.is_file() else None)
    if _is_function(model):
        from colonnade.search.function import export_function  # loads torch

        return export_function(str(model), place / f"{_stem(model)}.onnx"), tokenizer
    return model, tokenizer


def choose_target(
    sparsity: float | None, speedup: float | None, latency_ms: float | None, allocation: str
) -> Target | None:
    """What to search for; None where a rule shares the sparsity out."""
    if speedup is not None or latency_ms is not None:
        return Target(speedup, latency_ms, sparsity)
    if allocation == "measured":
        return Target(sparsity=sparsity)
    return None


def _verify_search(options: Mapping[str, object]) -> None:
    """Refuse what a search does not do, before the work."""
    for name, given in options.items():
        if given:
            raise InputError(f"{name}: not with a search for a target; leave it out")


def _show(
    console: Console, report: Report, model: Path, target: Path, found: Found | None = None
) -> None:
    size = target.stat().st_size
    document = {"path": str(target), "bytes": size, **report.to_dict()}
    if found is not None:
        document["search"] = found.to_dict()
    console.document(document)
    console.table(COLUMNS, [layer_row(layer) for layer in report.layers], NUMERIC, wraps=True)
    console.line()
    for line in summary(report, model.name):
        console.line(line)
    if found is not None:
        asked = "" if found.asked is None else f", asked for {found.asked:.2f}"
        console.line(
            f"speed: {found.measured:.2f} times the dense model{asked} ({found.dense_ms:.2f} ms "
            f"dense, {found.sparse_ms:.2f} ms sparse, measured in turns)"
        )
    console.line(f"{target}: {mib(size)} MiB")
    if found is not None and not found.is_met:
        console.note(f"the target is missed: {found.why}")


@app.command("analyze")
def analyze_command(
    model: Annotated[Path, typer.Argument(help=_MODEL_HELP)],
    calibration: CalibrationOption,
    pattern: Annotated[str, typer.Option("--pattern", help="As for oneshot.")] = "unstructured",
    method: Annotated[
        Literal["magnitude", "wanda", "sparsegpt", "obc"],
        typer.Option("--method", help="How layers are pruned to see what that loses."),
    ] = "sparsegpt",
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="A node to leave out; repeatable.")
    ] = None,
    samples: SamplesOption = None,
    tokenizer: TokenizerOption = None,
    sequence_length: TokensOption = LENGTH_MAX,
    batch_size: BatchOption = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a report: .html or .json.")
    ] = None,
    threads: ThreadsOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """What each layer costs, and what its zeros would gain and lose; nothing is changed."""
    console = Console(json_output, quiet)
    with reported_errors(console, debug=debug):
        verify_report(report)
        verify_folder(report)
        model, tokenizer = as_file(model, tokenizer, model.parent)
        subject = open_subject(
            model, calibration, pattern=pattern, method=method, exclude=exclude or (),
            reading=Reading(tokenizer=tokenizer, length_max=sequence_length),
            samples_max=samples, threads=threads, batch=batch_size,
        )  # fmt: skip
        with console.progress() as progress:
            found = analyze(subject, progress)
        if report is not None:
            write_analysis(report, found)
            console.note(f"report written to {report}")
        console.document(found.to_dict())
        names, rows = analysis_rows(found)
        console.table(names, rows, names[2:], wraps=True)
        console.line()
        for line in analysis_summary(found):
            console.line(line)
