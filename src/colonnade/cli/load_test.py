"""colonnade load-test: how much a server carries, and how long its answers take."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from colonnade.bench.feeds import random_feeds
from colonnade.bench.plot import plot_load
from colonnade.cli.console import Console, ProgressCall, plain_data
from colonnade.cli.exits import reported_errors
from colonnade.cli.model import InputOptions, choose_shapes, make_inputs, verify_folder
from colonnade.cli.options import (
    BatchOption,
    DebugOption,
    InputOption,
    JsonOption,
    QuietOption,
    SeedOption,
    SequenceOption,
    ShapeOption,
)
from colonnade.cli.output_files import write_json
from colonnade.errors import CapabilityError, InputError

if TYPE_CHECKING:
    from colonnade.bench.load.outcome import Step
    from colonnade.bench.load.search import LoadTest
    from colonnade.bench.load.sender import Traffic
    from colonnade.bench.load.target import Server

BODIES = 16
"""Different random requests that are sent in turns, so that no cache answers them all."""

LATE_SHARE_MAX = 0.1
"""A sender late by more than this share of p99 makes the figures doubtful."""


def load_test(
    url: Annotated[
        str, typer.Argument(help="The server: http://HOST:PORT, or its model's address.")
    ],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model; by default the only one.")
    ] = None,
    rates: Annotated[
        list[float] | None,
        typer.Option(
            "--rate",
            "-r",
            min=0.01,
            help="Requests per second to offer; repeatable. Otherwise "
            "around the point of saturation, which is looked for first.",
        ),
    ] = None,
    loads: Annotated[
        list[float] | None,
        typer.Option("--load", min=0.01, help="Shares of saturation to offer; repeatable."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--time", "-t", min=0.1, help="Seconds of each step.")
    ] = 10.0,
    warm_up_s: Annotated[
        float, typer.Option("--warmup-time", "-w", min=0.0, help="Seconds before each step.")
    ] = 1.0,
    clients_max: Annotated[
        int, typer.Option("--clients", min=1, max=512, help="Most clients in the search.")
    ] = 64,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.01, help="Seconds after which a client gives up.")
    ] = 30.0,
    encoding: Annotated[
        Literal["binary", "json"], typer.Option("--encoding", help="How tensors are sent.")
    ] = "binary",
    path: Annotated[
        str | None,
        typer.Option("--path", help="Another route, which gets --body: /v1/embeddings."),
    ] = None,
    body: Annotated[
        Path | None, typer.Option("--body", help="A file to send to --path, as JSON.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="COLONNADE_API_KEY", help="Sent as a bearer token."),
    ] = None,
    ca_file: Annotated[
        str | None, typer.Option("--ca-file", help="Certificates to trust, for https.")
    ] = None,
    batch_size: BatchOption = None,
    sequence_length: SequenceOption = None,
    shape: ShapeOption = None,
    inputs: InputOption = None,
    seed: SeedOption = 0,
    export_path: Annotated[
        Path | None, typer.Option("--export-path", "-x", help="Write the JSON here as well.")
    ] = None,
    plot_path: Annotated[
        Path | None, typer.Option("--plot", help="Draw latency against load: .png, .svg or .pdf.")
    ] = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Find how much a server carries; latency of accepted requests against offered load.

    Waiting clients find the point of saturation; then requests come at random (Poisson) at rates
    around it, whatever the server does. Latency counts from the time at which a request was meant
    to be sent. Use another machine than the server's, or other cores (taskset).
    """
    console = Console(json_output, quiet)
    options = InputOptions(inputs or (), shape or (), "", batch_size, sequence_length, seed)
    with reported_errors(console, debug=debug):
        _verify_installed()
        for target in (export_path, plot_path):
            verify_folder(target)
        plan = _Plan(tuple(rates or ()), tuple(loads or ()), seconds, clients_max)
        from colonnade.bench.load.pool import PoolOptions
        from colonnade.bench.load.sender import Traffic
        from colonnade.bench.load.target import choose_model, parse_url

        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        server, named = parse_url(url, headers, ca_file)
        if (path is None) != (body is None):
            raise InputError("--path and --body go together")
        if path is not None and body is not None:
            where = path
            requests = _prepared(server, path, body)
        else:
            where = choose_model(server, model or named)
            requests = _requests(server, where, options, encoding, console)
        traffic = Traffic(
            server.connect, requests, PoolOptions(timeout_s=timeout_s), warm_up_s, seed
        )
        with console.progress() as progress:
            found = _run(traffic, plan, progress)
        document = plain_data({"url": url, "target": where, "seed": seed, **found.to_dict()})
        console.document(document)
        _show(console, found)
        write_json(export_path, document)
        if plot_path is not None:
            plot_load(document, plot_path)


@dataclass(frozen=True)
class _Plan:
    rates: Sequence[float]
    loads: Sequence[float]
    seconds: float
    clients_max: int


def _verify_installed() -> None:
    if importlib.util.find_spec("httptools") is None:
        raise CapabilityError("load-test needs httptools: pip install 'colonnade[serve]'")


def _prepared(server: Server, path: str, body: Path) -> list[bytes]:
    if not body.is_file():
        raise InputError(f"{body}: no such file")
    return [server.request(path, body.read_bytes(), {"Content-Type": "application/json"})]


def _requests(
    server: Server,
    model: str,
    options: InputOptions,
    encoding: Literal["binary", "json"],
    console: Console,
) -> list[bytes]:
    from colonnade.bench.load.target import infer_request, read_inputs

    specs = read_inputs(server, model)
    ready = make_inputs(specs, options)
    for note in ready.notes:
        console.note(note)
    if options.files:
        return [infer_request(server, model, ready.arrays, encoding)]
    shapes = choose_shapes(specs, options).shapes
    feeds = [random_feeds(specs, shapes, options.seed + number) for number in range(BODIES)]
    return [infer_request(server, model, feed, encoding) for feed in feeds]


def _run(traffic: Traffic, plan: _Plan, progress: ProgressCall) -> LoadTest:
    from colonnade.bench.load.loop import run
    from colonnade.bench.load.search import LOADS, run_load_test
    from colonnade.bench.load.sender import send_closed_loop, send_open_loop

    async def closed(clients: int) -> Step:
        progress(f"{clients} waiting clients", None)
        return await send_closed_loop(traffic, clients, plan.seconds)

    async def open_(rate_per_s: float) -> Step:
        progress(f"{rate_per_s:.1f} requests per second", None)
        return await send_open_loop(traffic, rate_per_s, plan.seconds)

    loads = plan.loads or LOADS
    return run(run_load_test(closed, open_, plan.clients_max, loads, plan.rates))


def _show(console: Console, found: LoadTest) -> None:
    columns = ("load", "offered/s", "answered/s", "p50 ms", "p99 ms", "p99.9 ms", "refused")
    rows = [
        (
            "open" if step.clients is None else f"{step.clients} waiting",
            f"{step.offered_per_s:.1f}",
            f"{step.goodput_per_s:.1f}",
            *(_number(value) for value in (step.p50_ms, step.p99_ms, step.p999_ms)),
            ", ".join(f"{n} x {code}" for code, n in step.outcomes.items() if code != "200"),
        )
        for step in (*found.closed, *found.open)
    ]
    console.table(columns, rows, columns[1:6])
    console.line()
    if found.saturation_per_s is not None:
        console.line(f"saturation: {found.saturation_per_s:.1f} answers per second")
    if found.carried_per_s is not None:
        console.line(
            f"carried: {found.carried_per_s:.1f} per second with p99 below twice the unloaded "
            f"{found.unloaded_p99_ms:.2f} ms"
        )
    if any(is_late(step) for step in found.open):
        console.note(
            "the sender was late, or short of connections, at some loads (lateness_p99_ms): their "
            "latencies hold that delay; use another machine or more of its cores"
        )


def is_late(step: Step) -> bool:
    """Whether the sender itself may have made a notable part of the latency."""
    if step.lateness_p99_ms is None or step.p99_ms is None:
        return False
    return step.lateness_p99_ms > LATE_SHARE_MAX * step.p99_ms


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
