"""colonnade compile: save a plan for this CPU."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from colonnade.cli.console import Console, mib
from colonnade.cli.exits import reported_errors
from colonnade.cli.model import (
    InputOptions,
    choose_shapes,
    input_specs,
    is_saved_plan,
    open_engine,
    verify_folder,
)
from colonnade.cli.options import (
    DebugOption,
    FallbackOption,
    InputShapesOption,
    JsonOption,
    QuietOption,
    SequenceOption,
    ShapeOption,
    ThreadsOption,
)
from colonnade.errors import InputError

SUFFIX = ".colonnade"


def compile_command(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; MODEL.colonnade by default."),
    ] = None,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(
            "--batch-size",
            "-b",
            "--batch_size",
            min=1,
            help="Size of the batch dimension; repeat it to save several plans in one file.",
        ),
    ] = None,
    sequence_length: SequenceOption = None,
    shape: ShapeOption = None,
    input_shapes: InputShapesOption = "",
    threads: ThreadsOption = None,
    fallback: FallbackOption = "allow",
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Compile a model and save the plan, which loads in milliseconds on the same kind of CPU."""
    console = Console(json_output, quiet)
    with reported_errors(console, debug=debug):
        if is_saved_plan(model):
            raise InputError(f"{model}: already a saved plan")
        target = output or model.with_suffix(SUFFIX)
        if target.resolve() == model.resolve():
            raise InputError(f"{target}: the plan would replace the model")
        verify_folder(target)
        start = time.perf_counter()
        saved: list[dict[str, list[int]]] = []
        notes: list[str] = []
        sizes: list[int | None] = [*batch_size] if batch_size else [None]
        with console.progress() as progress:
            progress(f"reading {model.name}", None)
            engine = open_engine(model, threads, fallback)
            for size in sizes:
                options = InputOptions((), shape or (), input_shapes, size, sequence_length)
                chosen = choose_shapes(input_specs(engine, is_plan=False), options)
                progress(f"planning for batch {chosen.batch_size}", None)
                engine.prepare(chosen.shapes)
                saved.append({name: list(dims) for name, dims in chosen.shapes.items()})
                notes += chosen.notes
            progress(f"writing {target.name}", None)
            engine.save(target)
            explanation = engine.explain().to_dict()
        seconds = time.perf_counter() - start
        for note in dict.fromkeys(notes):
            console.note(note)
        _show(console, target, seconds, saved, explanation)


def _show(
    console: Console,
    target: Path,
    seconds: float,
    saved: list[dict[str, list[int]]],
    explanation: dict[str, Any],
) -> None:
    size = target.stat().st_size
    kept = ("isa", "threads", "num_native", "num_fallback", "arena_bytes", "constant_bytes")
    console.document(
        {
            "path": str(target),
            "bytes": size,
            "seconds": seconds,
            "shapes": saved,
            **{key: explanation[key] for key in kept},
        }
    )
    console.line(f"{target}: {mib(size)} MiB, written in {seconds:.2f} s")
    console.line(
        f"{explanation['num_native']} native nodes, {explanation['num_fallback']} in ONNX Runtime; "
        f"{explanation['isa']}; arena {mib(explanation['arena_bytes'])} MiB"
    )
    for shapes in saved:
        texts = (f"{name} {'x'.join(map(str, dims))}" for name, dims in shapes.items())
        console.line(f"planned for {', '.join(texts)}")
