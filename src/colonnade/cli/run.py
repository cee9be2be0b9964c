"""colonnade run: one run on given or random inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from colonnade.cli.console import Console
from colonnade.cli.exits import reported_errors
from colonnade.cli.model import (
    InputOptions,
    input_specs,
    is_saved_plan,
    make_inputs,
    open_engine,
    verify_folder,
)
from colonnade.cli.options import (
    BatchOption,
    DebugOption,
    FallbackOption,
    InputOption,
    InputShapesOption,
    JsonOption,
    ModelArgument,
    QuietOption,
    SeedOption,
    SequenceOption,
    ShapeOption,
    ThreadsOption,
)
from colonnade.errors import InputError

FIRST_VALUES = 5
TOP_ROWS_MAX = 32


def run(
    model: ModelArgument,
    inputs: InputOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the outputs to this .npz file.")
    ] = None,
    batch_size: BatchOption = None,
    sequence_length: SequenceOption = None,
    shape: ShapeOption = None,
    input_shapes: InputShapesOption = "",
    threads: ThreadsOption = None,
    fallback: FallbackOption = "allow",
    top: Annotated[
        int, typer.Option("--top", min=0, help="Show the N largest of each last axis.")
    ] = 0,
    seed: SeedOption = 0,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a model once and describe its outputs."""
    console = Console(json_output, quiet)
    options = InputOptions(
        inputs or (), shape or (), input_shapes, batch_size, sequence_length, seed
    )
    with reported_errors(console, debug=debug):
        if output is not None and output.suffix != ".npz":
            raise InputError(f"{output}: outputs are written as .npz")
        verify_folder(output)
        with console.progress() as progress:
            progress("compiling", None)
            engine = open_engine(model, threads, fallback)
            ready = make_inputs(input_specs(engine, is_plan=is_saved_plan(model)), options)
            engine.prepare({name: array.shape for name, array in ready.arrays.items()})
            progress("running", None)
            start = time.perf_counter()
            outputs = engine.run(ready.arrays)
            elapsed_ms = (time.perf_counter() - start) * 1e3
        for note in ready.notes:
            console.note(note)
        if output is not None:
            np.savez(output, **outputs)  # type: ignore[arg-type]  # its stub mistakes the names
        _show(console, model, outputs, elapsed_ms, top)


def _show(
    console: Console, model: Path, outputs: Mapping[str, np.ndarray], elapsed_ms: float, top: int
) -> None:
    described = [describe_array(name, array, top) for name, array in outputs.items()]
    console.document({"model": str(model), "run_ms": elapsed_ms, "outputs": described})
    columns = ("output", "type", "shape", "min", "max", "mean", "first values")
    rows = [
        (
            entry["name"],
            entry["dtype"],
            "x".join(str(size) for size in entry["shape"]) or "scalar",
            *(_number(entry.get(key)) for key in ("min", "max", "mean")),
            " ".join(_number(value) for value in entry["first"]),
        )
        for entry in described
    ]
    console.table(columns, rows, numeric=("min", "max", "mean"))
    for entry in described:
        for row, best in enumerate(entry.get("top", ())):
            texts = [f"{item['index']}: {_number(item['value'])}" for item in best]
            console.line(f"{entry['name']}[{row}] top {len(best)}  " + "  ".join(texts))
    console.line(f"one run: {elapsed_ms:.2f} ms")


def describe_array(name: str, array: np.ndarray, top: int = 0) -> dict[str, Any]:
    """Type, shape, range and first values; with `top`, the largest values of each row."""
    described: dict[str, Any] = {
        "name": name,
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "first": array.reshape(-1)[:FIRST_VALUES].tolist(),
    }
    if array.dtype.kind in "fiu" and array.size:
        described.update(
            min=array.min().item(),
            max=array.max().item(),
            mean=array.mean(dtype=np.float64).item(),
        )
        if top and array.ndim:
            rows = array.reshape(-1, array.shape[-1])[:TOP_ROWS_MAX]
            described["top"] = [_largest(row, top) for row in rows]
    return described


def _largest(row: np.ndarray, count: int) -> list[dict[str, Any]]:
    order = np.argsort(row, kind="stable")[::-1][:count]
    return [{"index": int(index), "value": row[index].item()} for index in order]


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)
