"""colonnade recipe: check a sparsification recipe, see what it would gain, convert another tool's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from colonnade.cli.console import Console
from colonnade.cli.exits import ExitCode, reported_errors
from colonnade.cli.images import choose_images
from colonnade.cli.model import verify_folder
from colonnade.cli.options import (
    BatchOption,
    CalibrationOption,
    DebugOption,
    ImageOption,
    ImageSpecOption,
    JsonOption,
    QuietOption,
    ThreadsOption,
    TokenizerOption,
    TokensOption,
)
from colonnade.errors import InputError, RecipeError
from colonnade.quantization import Reading
from colonnade.quantization.data.open import LENGTH_MAX
from colonnade.search.speed import expected_speed
from colonnade.sparsify.modifier import Modifier
from colonnade.sparsify.recipe import load_recipe
from colonnade.sparsify.recipe.convert import Conversion, convert_recipe
from colonnade.sparsify.recipe.expressions import evaluate
from colonnade.sparsify.recipe.outcome import final_zeros
from colonnade.sparsify.registry import modifier_name

recipe_app = typer.Typer(
    help="Check recipes of a sparsification, and what they would gain; convert those of other tools.",
    no_args_is_help=True,
)

RecipeArgument = Annotated[Path, typer.Argument(help="A recipe, YAML.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Replace a variable; repeatable."),
]
StepsOption = Annotated[
    int, typer.Option("--steps-per-epoch", min=1, help="For recipes whose times count steps.")
]


@recipe_app.command("check")
def check(
    recipe: RecipeArgument,
    variables: SetOption = None,
    steps_per_epoch: StepsOption = 1,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Read a recipe, check every field, and print its timeline in epochs."""
    console = Console(json_output, quiet)
    with reported_errors(console, debug=debug):
        loaded = load_recipe(recipe, _parse_variables(variables or []))
        timeline = loaded.timeline(steps_per_epoch)
        epochs = loaded.num_steps(steps_per_epoch) / steps_per_epoch
        console.document({"epochs": epochs, "modifiers": [_document(item) for item in timeline]})
        console.table(
            ["modifier", "start", "end", "parameters"],
            [_row(modifier) for modifier in timeline],
            ["start", "end"],
            wraps=True,
        )
        console.line(f"{len(timeline)} modifiers, {epochs:g} epochs")


@recipe_app.command("speed")
def speed(
    recipe: RecipeArgument,
    model: Annotated[Path, typer.Argument(help="The dense model, float32 ONNX; trained or not.")],
    calibration: CalibrationOption,
    variables: SetOption = None,
    steps_per_epoch: StepsOption = 1,
    image_spec: ImageSpecOption = None,
    image: ImageOption = None,
    tokenizer: TokenizerOption = None,
    sequence_length: TokensOption = LENGTH_MAX,
    batch_size: BatchOption = None,
    threads: ThreadsOption = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """What a recipe would gain, before anything is trained: every layer that can have its pattern
    is timed with its final share of zeros, on this machine."""
    console = Console(json_output, quiet)
    with reported_errors(console, debug=debug):
        loaded = load_recipe(recipe, _parse_variables(variables or []))
        zeros = final_zeros(loaded.timeline(steps_per_epoch))
        images = choose_images(image_spec, image)
        found = expected_speed(
            model, calibration, zeros.sparsity, pattern=zeros.pattern,
            reading=Reading(images, tokenizer, sequence_length),
            threads=threads, batch=batch_size,
        )  # fmt: skip
        console.document({**dataclasses.asdict(zeros), **dataclasses.asdict(found)})
        console.line(
            f"expected: {found.gain:.2f} times the dense model ({found.dense_ms:.2f} ms dense, "
            f"{found.sparse_ms:.2f} ms sparse) with {zeros.sparsity:.0%} {zeros.pattern} in every "
            f"layer that can have it, as {zeros.modifier} says"
        )
        console.line(found.source)


@recipe_app.command("convert")
def convert(
    recipe: Annotated[
        Path, typer.Argument(help="A recipe of SparseML or llm-compressor, YAML or Markdown.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; printed by default.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if anything has no counterpart.")
    ] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Convert a recipe of another tool; what has no counterpart is listed on standard error."""
    console = Console(json_output, quiet)
    with reported_errors(console, debug=debug):
        verify_folder(output)
        if output is not None and output.resolve() == recipe.resolve():
            raise InputError(f"{output}: what is converted would replace what it is made of")
        conversion = convert_recipe(_read(recipe), str(recipe))
        notes = [f"{recipe}: {note}" for note in conversion.notes]
        for note in notes:
            console.error(note)
        if conversion.recipe is None or (strict and notes):
            what = "nothing" if conversion.recipe is None else "not everything"
            raise RecipeError(f"{what} of it has a counterpart here", source=str(recipe))
        _write(conversion, output)
        if output is None:
            console.line(conversion.text.rstrip())
        console.document({"recipe": conversion.text, "notes": notes})
    if conversion.notes:
        console.note(f"{len(conversion.notes)} remarks; look at each before you train")
    raise typer.Exit(ExitCode.OK)


def _write(conversion: Conversion, output: Path | None) -> None:
    if output is not None:
        output.write_text(conversion.text, encoding="utf-8")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot read it: {error.strerror}", source=str(path)) from None
    except UnicodeDecodeError:
        raise RecipeError("is not UTF-8 text", source=str(path)) from None


def _parse_variables(pairs: list[str]) -> dict[str, int | float]:
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--set {pair}: expected NAME=VALUE")
        values[name.strip()] = evaluate(value, {})
    return values


def _parameters(modifier: Modifier) -> dict[str, Any]:
    return {
        field.name: getattr(modifier, field.name)
        for field in dataclasses.fields(modifier)
        if field.name not in ("start", "end") and getattr(modifier, field.name) != field.default
    }


def _document(modifier: Modifier) -> dict[str, Any]:
    times = {"start": modifier.start, "end": modifier.end}
    return {"modifier": modifier_name(modifier), **times, "parameters": _parameters(modifier)}


def _row(modifier: Modifier) -> list[str]:
    end = "" if modifier.end is None else f"{modifier.end:g}"
    given = ", ".join(f"{name}={value}" for name, value in _parameters(modifier).items())
    return [modifier_name(modifier), f"{modifier.start:g}", end, given]
