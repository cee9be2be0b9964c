"""colonnade sparsify: make a trained model sparse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from colonnade.cli.console import Console, mib
from colonnade.cli.exits import ExitCode, reported_errors
from colonnade.cli.images import choose_images
from colonnade.cli.options import (
    BatchOption,
    CalibrationOption,
    DebugOption,
    ImageOption,
    ImageSpecOption,
    JsonOption,
    QuietOption,
    SamplesOption,
    TextLengthOption,
    ThreadsOption,
    TokenizerOption,
)
from colonnade.cli.sparsify_analysis import (
    analysis_rows,
    analysis_summary,
    read_analysis,
    render_analysis,
)
from colonnade.cli.sparsify_files import (
    choose_output,
    opened_model,
    save_report,
    verify_dense_output,
    verify_files,
    verify_model,
    verify_suffix,
)
from colonnade.cli.sparsify_report import COLUMNS, NUMERIC, layer_row, render_json, summary
from colonnade.errors import InputError
from colonnade.pruning import Report, prune
from colonnade.pruning.prune import DAMPING, check_options
from colonnade.quantization import Reading
from colonnade.search import Found, Target, analyze, open_subject, search
from colonnade.sparsity.patterns import implied_sparsity, parse_pattern

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
        Literal["magnitude", "wanda", "sparsegpt", "obc"] | None,
        typer.Option(
            "--method",
            help="obc keeps most and takes longest; it is the default, or sparsegpt in a search.",
        ),
    ] = None,
    allocation: Annotated[
        Literal["uniform", "erk", "owl", "global", "sensitivity", "measured"] | None,
        typer.Option(
            "--allocation",
            help="How layers share the sparsity, uniform by default; measured: by their "
            "sensitivity, one at a time.",
        ),
    ] = None,
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
    dense_output: Annotated[
        Path | None,
        typer.Option(
            "--dense-output", help="Keep the dense export of a folder or a function in this file."
        ),
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
    sequence_length: TextLengthOption = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write a report: .json.")] = None,
    threads: ThreadsOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Prune an ONNX file without training; all that is not pruned stays bit for bit."""
    console = Console(json_output, quiet)
    with reported_errors(console, debug=debug):
        verify_model(model)
        target = choose_output(model, output)
        verify_dense_output(model, dense_output)
        verify_suffix(report, ".json")
        verify_files(
            {"--output": target, "--report": report, "--dense-output": dense_output},
            {
                "MODEL": model, "--calibration": Path(calibration), "--analysis": analysis,
                "--validation": Path(validation) if validation else None,
                "--tokenizer": tokenizer, "--image-spec": image_spec,
            },
        )  # fmt: skip
        images = choose_images(image_spec, image)
        wanted = choose_target(sparsity, target_speedup, target_latency_ms, allocation, pattern)
        known = None if analysis is None else read_analysis(analysis)
        if wanted is None:
            _refuse(
                {"--analysis": analysis, "--batch-size": batch_size},
                "only with a target or --allocation measured",
            )
            check_options(sparsity, pattern, method or "obc", allocation or "uniform", damping)
        else:
            _refuse({
                "--layer": layers, "--depthwise": depthwise, "--sequential": sequential,
                "--no-correct": not correct, "--validation": validation,
                "--damping": damping != DAMPING,
                f"--allocation {allocation}": allocation not in (None, "measured"),
            }, "not with a search for a target")  # fmt: skip
        found = None
        with opened_model(model, tokenizer, sequence_length, dense_output) as opened:
            reading = Reading(images, opened.tokenizer, opened.length_max)
            with console.progress() as progress:
                if wanted is not None:
                    subject = open_subject(
                        opened.path, calibration, pattern=pattern,
                        method=method or (known.method if known else "sparsegpt"),
                        exclude=exclude or (), reading=reading, samples_max=samples,
                        threads=threads, batch=batch_size,
                    )  # fmt: skip
                    found = search(subject, wanted, known, progress)
                    made = found.pruned
                else:
                    assert allocation != "measured"
                    made = prune(
                        opened.path, calibration, sparsity=sparsity, pattern=pattern,
                        method=method or "obc", allocation=allocation or "uniform",
                        layers=layers or (), exclude=exclude or (), depthwise=depthwise,
                        sequential=sequential, correct=correct, damping=damping,
                        validation=validation, reading=reading, samples_max=samples,
                        threads=threads, progress=progress,
                    )  # fmt: skip
                made.save(target)
            _show(console, made.report, opened.path.name, target, found)
        if report is not None:
            more = {} if found is None else {"search": found.to_dict()}
            save_report(console, report, render_json(made.report, more))
        if found is not None and not found.is_met:
            console.error(f"the target is missed: {found.why}")
            raise typer.Exit(ExitCode.TARGET_MISSED)


def choose_target(
    sparsity: float | None,
    speedup: float | None,
    latency_ms: float | None,
    allocation: str | None,
    pattern: str,
) -> Target | None:
    """What to search for; None where a rule shares the sparsity out. Raises InputError for what
    no search can have."""
    implied = implied_sparsity(parse_pattern(pattern))
    if speedup is not None or latency_ms is not None:
        return Target(speedup, latency_ms, sparsity)
    if allocation != "measured":
        return None
    if sparsity is None and implied is None:
        raise InputError("--allocation measured: needs --sparsity, as 0.7, or a target")
    return Target(sparsity=implied if sparsity is None else sparsity)


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Raise InputError for an option that would be ignored, before the work."""
    for name, given in options.items():
        if given:
            raise InputError(f"{name}: {why}; leave it out")


def _show(console: Console, report: Report, name: str, target: Path, found: Found | None) -> None:
    size = target.stat().st_size
    document = {"path": str(target), "bytes": size, **report.to_dict()}
    if found is not None:
        document["search"] = found.to_dict()
    console.document(document)
    console.table(COLUMNS, [layer_row(layer) for layer in report.layers], NUMERIC, wraps=True)
    console.line()
    for line in summary(report, name):
        console.line(line)
    if found is not None:
        asked = "" if found.asked is None else f", asked for {found.asked:.2f}"
        console.line(
            f"speed: {found.measured:.2f} times the dense model{asked} ({found.dense_ms:.2f} ms "
            f"dense, {found.sparse_ms:.2f} ms sparse, measured in turns)"
        )
    console.line(f"{target}: {mib(size)} MiB")


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
    image_spec: ImageSpecOption = None,
    image: ImageOption = None,
    tokenizer: TokenizerOption = None,
    sequence_length: TextLengthOption = None,
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
        verify_model(model)
        verify_suffix(report, ".html", ".json")
        verify_files(
            {"--report": report},
            {
                "MODEL": model, "--calibration": Path(calibration), "--tokenizer": tokenizer,
                "--image-spec": image_spec,
            },
        )  # fmt: skip
        images = choose_images(image_spec, image)
        parse_pattern(pattern)
        with opened_model(model, tokenizer, sequence_length) as opened:
            subject = open_subject(
                opened.path, calibration, pattern=pattern, method=method, exclude=exclude or (),
                reading=Reading(images, opened.tokenizer, opened.length_max),
                samples_max=samples, threads=threads, batch=batch_size,
            )  # fmt: skip
            with console.progress() as progress:
                found = analyze(subject, progress)
        console.document(found.to_dict())
        names, rows = analysis_rows(found)
        console.table(names, rows, names[2:], wraps=True)
        console.line()
        for line in analysis_summary(found):
            console.line(line)
        if report is not None:
            save_report(console, report, render_analysis(report, found))
