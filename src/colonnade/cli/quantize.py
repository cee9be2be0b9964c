"""colonnade quantize: a float32 model to 8 bits, with calibration data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from colonnade.cli.console import Console, mib
from colonnade.cli.exits import reported_errors
from colonnade.cli.images import choose_images
from colonnade.cli.model import is_saved_plan, verify_folder
from colonnade.cli.options import (
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
from colonnade.cli.quantize_report import (
    COLUMNS,
    NUMERIC,
    check_suffix,
    layer_row,
    summary,
    write_report,
)
from colonnade.errors import InputError
from colonnade.quantization import Reading, Report, Target, quantize
from colonnade.quantization.data.functions import load_function
from colonnade.quantization.data.open import LENGTH_MAX
from colonnade.quantization.quantize import PERCENTILE, QUANTIZED_OPS

ALPHA = 0.5


def quantize_command(
    model: Annotated[Path, typer.Argument(help="A float32 ONNX file.")],
    calibration: CalibrationOption,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; MODEL-int8.onnx by default."),
    ] = None,
    method: Annotated[
        Literal["minmax", "percentile", "entropy", "mse"],
        typer.Option("--method", help="How the range of an activation is found."),
    ] = "minmax",
    percentile: Annotated[
        float, typer.Option("--percentile", help="Percent of the elements that it keeps.")
    ] = PERCENTILE,
    samples: SamplesOption = None,
    per_tensor: Annotated[
        bool, typer.Option("--per-tensor", help="One scale for all weights of a layer.")
    ] = False,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Move outliers of activations into weights first.")
    ] = False,
    alpha: Annotated[
        float, typer.Option("--alpha", min=0, max=1, help="How far --smooth moves them.")
    ] = ALPHA,
    ops: Annotated[
        str, typer.Option("--ops", help="Operators to quantize, joined by commas.")
    ] = ",".join(QUANTIZED_OPS),
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", help="A node to leave in float32, * for any; repeatable."),
    ] = None,
    max_error: Annotated[
        float | None, typer.Option("--max-error", help="Largest difference at any output.")
    ] = None,
    min_sqnr: Annotated[
        float | None, typer.Option("--min-sqnr", help="Least SQNR of every output in dB.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="module:function that gets a function from inputs to outputs, and returns how "
            "good they are; more is better.",
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", min=0, help="By which --metric may be worse.")
    ] = 0.0,
    target_speedup: Annotated[
        float | None,
        typer.Option("--target-speedup", help="Layers go back to float32 only down to this."),
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Measure each layer alone in 8 bits.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time float32 and 8 bits, in turns.")
    ] = False,
    image_spec: ImageSpecOption = None,
    image: ImageOption = None,
    tokenizer: TokenizerOption = None,
    sequence_length: TokensOption = LENGTH_MAX,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a report: .html, .json or .md.")
    ] = None,
    threads: ThreadsOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Quantize a float32 model to 8 bits: QDQ ONNX that ONNX Runtime runs, too."""
    console = Console(json_output, quiet)
    with reported_errors(console, debug=debug):
        target_file = _choose_output(model, output)
        check_suffix(report)
        verify_folder(report)
        reading = Reading(choose_images(image_spec, image), tokenizer, sequence_length)
        target = Target(
            max_error, min_sqnr, load_function(metric, "--metric") if metric else None, max_drop,
            target_speedup,
        )  # fmt: skip
        with console.progress() as progress:
            made = quantize(
                model, calibration,
                method=method, percentile=percentile, per_channel=not per_tensor,
                smooth_alpha=alpha if smooth else None, ops=tuple(ops.split(",")),
                exclude=exclude or (), target=target, sensitivity=sensitivity, measure=measure,
                reading=reading, samples_max=samples, threads=threads, progress=progress,
            )  # fmt: skip
            made.save(target_file)
        if report is not None:
            write_report(report, made.report.to_dict(), model.name)
            console.note(f"report written to {report}")
        _show(console, made.report, model, target_file)


def _choose_output(model: Path, output: Path | None) -> Path:
    """Where the file goes; raises InputError for what cannot be quantized or written."""
    if is_saved_plan(model):
        raise InputError(f"{model}: a saved plan; expected a float32 ONNX file")
    target = output or model.with_name(f"{model.stem}-int8.onnx")
    if target.resolve() == model.resolve():
        raise InputError(f"{target}: the quantized model would replace the float32 one")
    verify_folder(target)
    return target


def _show(console: Console, report: Report, model: Path, target: Path) -> None:
    found = report.to_dict()
    size = target.stat().st_size
    console.document({"path": str(target), "bytes": size, **found})
    console.table(COLUMNS, [layer_row(layer) for layer in found["layers"]], NUMERIC, wraps=True)
    console.line()
    for line in summary(found, model.name):
        console.line(line)
    console.line(f"{target}: {mib(size)} MiB")
