"""colonnade sparsify: make a trained model sparse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from colonnade.cli.console import Console, mib
from colonnade.cli.exits import reported_errors
from colonnade.cli.model import is_saved_plan, verify_folder
from colonnade.cli.options import DebugOption, JsonOption, QuietOption, ThreadsOption
from colonnade.cli.quantize import read_pairs
from colonnade.cli.sparsify_report import COLUMNS, NUMERIC, layer_row, summary, write_json
from colonnade.errors import InputError
from colonnade.pruning import Report, prune
from colonnade.pruning.prune import DAMPING
from colonnade.quantization import Reading
from colonnade.quantization.data.images import read_spec
from colonnade.quantization.data.open import LENGTH_MAX

app = typer.Typer(help="Make a trained model sparse.", no_args_is_help=True)

_DATA_HELP = (
    "A folder of .npz files (keys are input names), a folder of images, a text file (one sample a "
    "line, with --tokenizer), or module:function or file.py:function that yields dicts of arrays."
)


@app.command("oneshot")
def oneshot(
    model: Annotated[Path, typer.Argument(help="A trained float32 ONNX file.")],
    calibration: Annotated[str, typer.Option("--calibration", metavar="DATA", help=_DATA_HELP)],
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
        Literal["uniform", "erk", "owl", "global", "sensitivity"],
        typer.Option("--allocation", help="How layers share the sparsity."),
    ] = "uniform",
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
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Calibration samples at most.")
    ] = None,
    image_spec: Annotated[
        Path | None, typer.Option("--image-spec", help="YAML file: how images become arrays.")
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", help="KEY=VALUE of the same, as size=224 or mean=0.5; repeatable."),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="tokenizer.json for a text file.")
    ] = None,
    sequence_length: Annotated[
        int, typer.Option("--sequence-length", min=1, help="Tokens of a text at most.")
    ] = LENGTH_MAX,
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
        if report is not None and report.suffix != ".json":
            raise InputError(f"{report}: a report is .json")
        verify_folder(report)
        reading = Reading(
            read_spec(image_spec, read_pairs(image or ())), tokenizer, sequence_length
        )
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
    if is_saved_plan(model):
        raise InputError(f"{model}: a saved plan; expected a float32 ONNX file")
    target = output or model.with_name(f"{model.stem}-sparse.onnx")
    if target.resolve() == model.resolve():
        raise InputError(f"{target}: the sparse model would replace the dense one")
    verify_folder(target)
    return target


def _show(console: Console, report: Report, model: Path, target: Path) -> None:
    size = target.stat().st_size
    console.document({"path": str(target), "bytes": size, **report.to_dict()})
    console.table(COLUMNS, [layer_row(layer) for layer in report.layers], NUMERIC, wraps=True)
    console.line()
    for line in summary(report, model.name):
        console.line(line)
    console.line(f"{target}: {mib(size)} MiB")
