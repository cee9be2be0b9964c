"""The `colonnade` command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import colonnade
from colonnade.cli.benchmark import benchmark
from colonnade.cli.compile import compile_command
from colonnade.cli.doctor import doctor
from colonnade.cli.exits import EXIT_CODES_HELP
from colonnade.cli.explain import explain
from colonnade.cli.load_test import load_test
from colonnade.cli.quantize import quantize_command
from colonnade.cli.recipe import recipe_app
from colonnade.cli.run import run
from colonnade.cli.serve import serve_command
from colonnade.cli.sparsify import app as sparsify

app = typer.Typer(
    help=f"Sparse models, run in columns.\n\n{EXIT_CODES_HELP}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Boxes and colours are for people at a terminal.
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run)
app.command("benchmark")(benchmark)
app.command("explain")(explain)
app.command("compile")(compile_command)
app.command("quantize")(quantize_command)
app.command("serve")(serve_command)
app.add_typer(sparsify, name="sparsify")
app.command("load-test")(load_test)
app.command("doctor")(doctor)
app.add_typer(recipe_app, name="recipe")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(colonnade.__version__)
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of the command itself."""
