"""colonnade explain: what was chosen for every node, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from colonnade.cli.console import Console, mib
from colonnade.cli.exits import reported_errors
from colonnade.cli.explain_page import render_page
from colonnade.cli.model import (
    InputOptions,
    choose_shapes,
    input_specs,
    is_saved_plan,
    open_engine,
    verify_folder,
)
from colonnade.cli.options import (
    BatchOption,
    DebugOption,
    FallbackOption,
    InputShapesOption,
    JsonOption,
    ModelArgument,
    QuietOption,
    SequenceOption,
    ShapeOption,
    ThreadsOption,
)
from colonnade.planner.explain import stripe_line

COLUMNS = ("node", "op", "runs in", "kernel", "layout", "MiB", "why")


def explain(
    model: ModelArgument,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write one self-contained page here.")
    ] = None,
    batch_size: BatchOption = None,
    sequence_length: SequenceOption = None,
    shape: ShapeOption = None,
    input_shapes: InputShapesOption = "",
    threads: ThreadsOption = None,
    fallback: FallbackOption = "allow",
    show_passes: Annotated[
        bool, typer.Option("--passes", help="Show what each compiler pass did.")
    ] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the plan of a model: per node the kernel, the reason, bytes and advisories."""
    console = Console(json_output, quiet)
    options = InputOptions((), shape or (), input_shapes, batch_size, sequence_length)
    with reported_errors(console, debug=debug):
        verify_folder(html)
        with console.progress() as progress:
            progress("compiling", None)
            engine = open_engine(model, threads, fallback)
            chosen = choose_shapes(input_specs(engine, is_plan=is_saved_plan(model)), options)
            progress("planning", None)
            found = engine.explain(chosen.shapes).to_dict()
        for note in chosen.notes:
            console.note(note)
        if html is not None:
            html.write_text(render_page(found, model.name), encoding="utf-8")
            console.note(f"page written to {html}")
        _show(console, found, model.name, show_passes=show_passes)


def _show(console: Console, found: Mapping[str, Any], title: str, *, show_passes: bool) -> None:
    console.document(found)
    for line in summary(found, title):
        console.line(line)
    console.line()
    console.table(COLUMNS, [_row(node) for node in found["nodes"]], numeric=("MiB",), wraps=True)
    for number, stripe in enumerate(found.get("stripes", ())):
        console.line(stripe_line(number, stripe))
    for node in found["nodes"]:
        for advisory in node["advisories"]:
            console.line(f"advisory: {node['name']}: {advisory}")
    if show_passes:
        console.line()
        rows = [(p["name"], str(p["changes"]), f"{p['ms']:.1f}") for p in found["passes"]]
        console.table(("pass", "changes", "ms"), rows, numeric=("changes", "ms"))


def summary(found: Mapping[str, Any], title: str) -> list[str]:
    """The plan in three lines."""
    folded = len(found["nodes"]) - found["num_native"] - found["num_fallback"]
    others = f", {folded} elsewhere" if folded else ""
    shapes = found.get("shapes", {})
    texts = (f"{name} {'x'.join(map(str, dims))}" for name, dims in shapes.items())
    advisories = sum(len(node["advisories"]) for node in found["nodes"])
    return [
        f"{title}: {found['num_native']} native nodes, {found['num_fallback']} in ONNX "
        f"Runtime{others}; {advisories} advisories",
        f"planned for {', '.join(texts)}; {found['isa']}, {found['threads']} threads",
        f"memory: arena {mib(found['arena_bytes'])} MiB, "
        f"scratch {mib(found.get('scratch_bytes', 0))} MiB, "
        f"weights {mib(found['constant_bytes'])} MiB",
    ]


def _row(node: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        node["name"],
        node["op"],
        node["runtime"],
        node["kernel"],
        node["layout"],
        mib(node["bytes"]),
        node["why"],
    )
