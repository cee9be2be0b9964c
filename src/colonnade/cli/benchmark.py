"""colonnade benchmark: time a model, alone or beside other engines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import colonnade
from colonnade import knobs
from colonnade.bench.compare import Comparison, Feed, Workload, compare_engines
from colonnade.bench.harness import Schedule
from colonnade.bench.imposed import Imposition, imposed_model
from colonnade.bench.layers import layer_rows
from colonnade.bench.peers import ENGINE_NAMES, InputSpec
from colonnade.bench.plot import plot_latency
from colonnade.bench.report import (
    deepsparse_keys,
    summary_lines,
    to_csv,
    to_document,
)
from colonnade.bench.sweep import MakeFeed
from colonnade.bench.trace import to_trace_events
from colonnade.cli.console import Console, mib, plain_data
from colonnade.cli.exits import ExitCode, reported_errors
from colonnade.cli.model import InputOptions, make_inputs, verify_folder
from colonnade.cli.options import (
    BatchOption,
    DebugOption,
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
from colonnade.cli.output_files import OutputFiles, write_json
from colonnade.cli.sparsity import (
    ImposeOption,
    KeepDenseOption,
    SparsityOptions,
    StructureOption,
    SweepLevelsOption,
    SweepOption,
    SweepRequest,
    read_request,
    sweep,
)
from colonnade.engine.scheduler import Scheduler
from colonnade.errors import InputError

Scenario = Literal["sync", "async", "elastic"]
SCHEDULERS: Mapping[Scenario, Scheduler] = {
    "sync": "single_stream",
    "async": "multi_stream",
    "elastic": "elastic",
}
OWN = "colonnade"


def benchmark(
    model: ModelArgument,
    compare: Annotated[
        str,
        typer.Option(
            "--compare",
            help="Other engines to time in turns with this one, separated by commas: "
            f"{', '.join(name for name in ENGINE_NAMES if name != OWN)}. "
            "COLONNADE_PEER_<NAME>_PYTHON names the interpreter that has an engine.",
        ),
    ] = "",
    engine: Annotated[str, typer.Option("--engine", "-e", help="The engine to time first.")] = OWN,
    batch_size: BatchOption = None,
    sequence_length: SequenceOption = None,
    shape: ShapeOption = None,
    input_shapes: InputShapesOption = "",
    inputs: InputOption = None,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
    scenario: Annotated[
        Scenario | None,
        typer.Option(
            "--scenario",
            "-s",
            help="sync: one request after another; async or elastic: several in flight. By default "
            "what --scheduler is for, else sync.",
        ),
    ] = None,
    scheduler: Annotated[
        Scheduler | None,
        typer.Option(
            "--scheduler",
            help="How requests share the threads; by default single_stream for sync, multi_stream "
            "for async, elastic for elastic.",
        ),
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(
            "--streams",
            "-nstreams",
            "--num_streams",
            min=1,
            help="Requests in flight in async or elastic, and streams of multi_stream; one for each "
            "thread by default.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--time", "-t", min=0.0, help="Seconds to measure each engine.")
    ] = 10.0,
    warm_up_s: Annotated[
        float,
        typer.Option(
            "--warmup-time", "-w", "--warmup_time", min=0.0, help="Seconds to warm each engine up."
        ),
    ] = 2.0,
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", min=1, help="Stop after so many counted runs of each engine."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            min=0.0,
            help="Share of the largest expected value that answers may differ by; computed from "
            "the element type by default.",
        ),
    ] = None,
    skip_failed: Annotated[
        bool, typer.Option("--skip-failed", help="Go on without a compared engine that fails.")
    ] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Measure the memory of each engine's process.")
    ] = False,
    export_path: Annotated[
        Path | None,
        typer.Option("--export-path", "-x", "--export_path", help="Write the JSON here as well."),
    ] = None,
    csv_path: Annotated[Path | None, typer.Option("--csv", help="Write a CSV file.")] = None,
    plot_path: Annotated[
        Path | None, typer.Option("--plot", help="Draw the results into a PNG file.")
    ] = None,
    trace_path: Annotated[
        Path | None,
        typer.Option("--trace", help="Write a Chrome/Perfetto trace of one run per node."),
    ] = None,
    impose_sparsity: ImposeOption = None,
    structure: StructureOption = None,
    keep_dense: KeepDenseOption = None,
    sparsity_sweep: SweepOption = False,
    sweep_levels: SweepLevelsOption = None,
    per_layer: Annotated[
        bool,
        typer.Option(
            "--per-layer", help="Show each node's kernel, zeros in its weight, time and share."
        ),
    ] = False,
    thread_pinning: Annotated[
        Literal["core", "numa", "none"],
        typer.Option(
            "-pin", "--thread_pinning", hidden=True, help="Accepted; threads are pinned to cores."
        ),
    ] = "core",
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Time a model; with --compare, in turns with other engines on the same inputs and threads.

    Every engine runs in a process of its own. Their answers are compared; exit code 5 says that
    they disagree. throughput_per_s counts input rows: batch size times runs per second.
    --impose-sparsity and --sparsity-sweep are for speed only: the answers are of no use.
    """
    console = Console(json_output, quiet)
    options = InputOptions(
        inputs or (), shape or (), input_shapes, batch_size, sequence_length, seed
    )
    with reported_errors(console, debug=debug):
        engines = engine_names(engine, compare)
        _verify_traces(engines[0], {"--trace": trace_path is not None, "--per-layer": per_layer})
        request = read_request(
            SparsityOptions(
                impose_sparsity, structure, keep_dense or (), sparsity_sweep, sweep_levels
            ),
            model,
        )
        if thread_pinning != "core":
            console.note(f"-pin {thread_pinning} has no effect: threads are pinned to cores")
        files = OutputFiles(export_path, csv_path, plot_path, trace_path)
        for target in (files.json, files.csv, files.plot, files.trace):
            verify_folder(target)
        granted = threads or knobs.threads() or colonnade.Runtime(0).threads
        load = choose_load(scenario, scheduler)
        workload = Workload(
            model=model,
            engines=engines,
            threads=granted,
            streams=choose_streams(load.scenario, streams, granted, console),
            scheduler=load.scheduler,
            schedule=Schedule(seconds, warm_up_s, iterations_max=iterations),
            tolerance=tolerance,
            skip_failed=skip_failed,
            with_memory=memory,
            with_trace=trace_path is not None,
            with_layers=per_layer,
        )

        def make_feed(specs: Sequence[InputSpec]) -> Feed:
            return _make_feed(specs, options)

        if isinstance(request, SweepRequest):
            sweep(request, workload, make_feed, console, files)
        else:
            _compare(request, workload, make_feed, console, load.scenario, files)


def _compare(
    imposition: Imposition | None,
    workload: Workload,
    make_feed: MakeFeed,
    console: Console,
    scenario: Scenario,
    files: OutputFiles,
) -> None:
    """One comparison, of the model as it is or with zeros imposed."""
    with ExitStack() as stack:
        progress = stack.enter_context(console.progress())
        imposed = None
        if imposition is not None:
            progress("imposing zeros", None)
            imposed = stack.enter_context(imposed_model(workload.model, imposition))
            workload = replace(workload, model=imposed.path, origin=workload.model)
        found = compare_engines(workload, make_feed, progress)
    document = _document(found, scenario)
    if imposed is not None:
        document["imposed"] = imposed.to_dict()
        console.note(str(imposed))
    _show(console, found, scenario, document)
    _write_files(found, document, files)
    if not found.is_agreed:
        console.error("error: " + disagreement(found))
        raise typer.Exit(ExitCode.DISAGREEMENT)


def _verify_traces(first: str, options: Mapping[str, bool]) -> None:
    for name, is_asked in options.items():
        if is_asked and first != OWN:
            raise InputError(f"{name}: only {OWN} traces its nodes, not {first}")


def engine_names(engine: str, compare: str) -> tuple[str, ...]:
    """The first engine, then those compared with it; InputError for one that nobody knows."""
    names = [engine, *(name.strip() for name in compare.split(",") if name.strip())]
    for name in names:
        if name not in ENGINE_NAMES:
            raise InputError(f"unknown engine {name!r}; the engines are {', '.join(ENGINE_NAMES)}")
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class Load:
    """How requests come, and how the engine shares its threads between them."""

    scenario: Scenario
    scheduler: Scheduler


def choose_load(scenario: Scenario | None, scheduler: Scheduler | None) -> Load:
    """Each goes with the other unless both are given."""
    if scenario is not None:
        return Load(scenario, scheduler or SCHEDULERS[scenario])
    wanted = scheduler or "single_stream"
    return Load(next(name for name, own in SCHEDULERS.items() if own == wanted), wanted)


def choose_streams(scenario: Scenario, streams: int | None, threads: int, console: Console) -> int:
    """How many requests are in flight: one in sync, as many as threads otherwise."""
    if scenario == "sync":
        if streams is not None and streams > 1:
            console.note("one stream: the sync scenario runs one after another")
        return 1
    if streams is None:
        console.note(f"{threads} requests in flight: one for each thread; choose with --streams")
        return threads
    return streams


def _make_feed(specs: Sequence[InputSpec], options: InputOptions) -> Feed:
    ready = make_inputs(specs, options)
    return Feed(ready.arrays, ready.batch_size, ready.notes)


def _document(found: Comparison, scenario: Scenario) -> dict[str, Any]:
    return {**deepsparse_keys(found, scenario), **to_document(found)}


def _show(
    console: Console, found: Comparison, scenario: Scenario, document: Mapping[str, Any]
) -> None:
    console.document(document)
    for note in found.notes:
        console.note(note)
    for name, reason in found.failures.items():
        console.note(f"{name} was left out: {reason}")
    for line in summary_lines(found, scenario):
        console.line(line)
    console.line()
    columns = (
        *("engine", "version", "median ms", "p90", "p99", "items/s", "runs"),
        *("max error", "peak MiB"),
    )
    rows = [
        (
            result.engine,
            result.version,
            f"{result.latency.median_ms:.3f}",
            f"{result.latency.p90_ms:.3f}",
            f"{result.latency.p99_ms:.3f}",
            f"{result.latency.throughput_per_s:.2f}",
            str(result.latency.iterations),
            "" if result.agreement is None else f"{result.agreement.max_abs_error:.3g}",
            "" if result.memory is None else mib(result.memory.peak_run_bytes),
        )
        for result in found.results
    ]
    filled = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    console.table(
        [columns[i] for i in filled], [[row[i] for i in filled] for row in rows], columns[2:]
    )
    for ratio in found.ratios:
        console.line(
            f"{ratio.engine} / {ratio.peer}: {ratio.ratio:.3f} times the throughput "
            f"(middle half of {ratio.rounds} rounds: {ratio.low:.3f} to {ratio.high:.3f})"
        )
    if found.layers:
        console.line()
        layer_columns = ("node", "kernel", "zeros", "ms", "share")
        console.table(layer_columns, layer_rows(found.layers), layer_columns[2:])


def _write_files(found: Comparison, measured: Mapping[str, Any], files: OutputFiles) -> None:
    document = plain_data(measured)
    write_json(files.json, document)
    if files.csv is not None:
        files.csv.write_text(to_csv(document["results"]))
    if files.trace is not None:
        events = to_trace_events(found.trace, found.workload.model.name)
        files.trace.write_text(json.dumps(events) + "\n")
    if files.plot is not None:
        plot_latency(document["results"], files.plot)


def disagreement(found: Comparison) -> str:
    """Which engine's answers are too far off, and by how much."""
    texts = [
        f"{r.engine}: output {r.agreement.worst_output!r} differs by up to "
        f"{r.agreement.max_abs_error:.3g}, allowed {r.agreement.tolerance:.3g}"
        for r in found.results
        if r.agreement is not None and not r.agreement.is_close
    ]
    return "answers disagree; " + "; ".join(texts)
