"""Measure the server: overhead, batching, overload, hot reloads, clients that hang up.

    python benchmarks/serving.py overhead batching        # these parts
    python benchmarks/serving.py overload --seconds 300   # 1800 for the long one
    python benchmarks/serving.py reload --reloads 1000

Server and client are pinned to different CPUs: the last one sends, the others serve. Writes
benchmarks/results/serving.json, and the table in docs/design/0010-serving.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import colonnade
import models
from colonnade.bench.feeds import random_feeds
from colonnade.bench.load import loop
from colonnade.bench.load.outcome import Step
from colonnade.bench.load.pool import PoolOptions
from colonnade.bench.load.search import find_saturation
from colonnade.bench.load.sender import Traffic, send_closed_loop, send_open_loop
from colonnade.bench.load.target import Server, infer_request, read_inputs
from colonnade.bench.load.watch import Usage, usage_of, watch
from colonnade.bench.machine import describe_machine
from colonnade.errors import ColonnadeError, RunError
from colonnade.serve.grpc.messages import messages
from serving_clients import Connection, GrpcConnection, HttpConnection, answers_per_s

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "serving.json"
NOTE = HERE.parent / "docs" / "design" / "0010-serving.md"
BEGIN, END = "<!-- figures of benchmarks/serving.py -->", "<!-- end of figures -->"

CLIENTS = 16
ROUNDS = 5
"""Turns of what is compared, so that a machine that drifts hits both alike."""
SEQUENCE = 128
RELOAD_LOAD = 0.05
"""Requests during reloads, of saturation."""
PATIENT = {"queue_max_ms": 60_000}
"""Clients wait; none is refused."""
READY_S = 300.0
WARM_UP_S = 2.0
SETTLE_S = 30.0
"""Warm-up before memory is compared; shorter where the whole part is."""

Part = Callable[[argparse.Namespace], Mapping[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for and keep what they found."""
    chosen = _parse(arguments)
    os.sched_setaffinity(0, _client_cpus())
    found = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in chosen.parts:
        print(f"== {name}", file=sys.stderr)
        try:
            figures = dict(PARTS[name](chosen))
        except ColonnadeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        found[_key(name, chosen)] = {**figures, "machine": _machine()}
        print(json.dumps(figures, indent=2))
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")
        write_note(found, NOTE)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the server.")
    parser.add_argument("parts", nargs="+", choices=sorted(PARTS))
    parser.add_argument("--seconds", type=float, default=30.0, help="of each step")
    parser.add_argument("--sequence", type=int, default=SEQUENCE, help="tokens of a text")
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument(
        "--reload-load", type=float, default=RELOAD_LOAD, help="requests meanwhile, of saturation"
    )
    return parser.parse_args(arguments)


def _key(part: str, chosen: argparse.Namespace) -> str:
    """What the figures of a part are kept under: conditions that are not the usual ones are named."""
    if part == "reload" and chosen.reload_load != RELOAD_LOAD:
        return f"reload at {chosen.reload_load:.0%} of saturation"
    if part in ("overhead", "reload") or chosen.sequence == SEQUENCE:
        return part
    return f"{part} of {chosen.sequence} tokens"


def _server_cpus() -> set[int]:
    cpus = sorted(os.sched_getaffinity(os.getppid()))
    return set(cpus[:-1]) or set(cpus)


def _client_cpus() -> set[int]:
    return {max(os.sched_getaffinity(os.getppid()))}


def _machine() -> dict[str, Any]:
    return {
        **describe_machine(),
        "server_cpus": sorted(_server_cpus()),
        "client_cpus": sorted(_client_cpus()),
        "date": time.strftime("%Y-%m-%d"),
    }


# --- servers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    server: Server
    pid: int
    grpc_port: int = 0


@contextmanager
def serving(model: Mapping[str, Any]) -> Iterator[Running]:
    """Our server with one model."""
    port, grpc_port = _free_port(), _free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "server.yaml"
        whole = {
            "port": port,
            "grpc_port": grpc_port,
            "log": "off",
            "model_control": True,
            "models": [dict(model)],
        }
        config.write_text(yaml.safe_dump(whole))
        command = [sys.executable, "-m", "colonnade.cli", "serve", str(config)]
        with _process(command, port) as running:
            yield replace(running, grpc_port=grpc_port)


@contextmanager
def echoing() -> Iterator[Running]:
    """The same stacks with handlers that send back what they get."""
    port, grpc_port = _free_port(), _free_port()
    command = [sys.executable, str(HERE / "serving_echo.py"), str(port), str(grpc_port)]
    with _process(command, port) as running:
        yield replace(running, grpc_port=grpc_port)


@contextmanager
def _process(command: Sequence[str], port: int) -> Iterator[Running]:
    cpus = _server_cpus()
    process = subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    try:
        _wait_until_ready(process, port)
        yield Running(Server("127.0.0.1", port), process.pid)
    finally:
        process.terminate()
        process.wait(60)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RunError(f"the server ended with status {process.returncode} before it was ready")
        with contextlib.suppress(OSError, http.client.HTTPException):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.closing(client):
                client.request("GET", "/v2/health/ready")
                if client.getresponse().status == http.client.OK:
                    return
        time.sleep(0.1)  # the server is another process: nothing tells when it is ready
    raise RunError(f"the server was not ready after {READY_S:g} s")


# --- traffic ------------------------------------------------------------------------------------


def _tiny(folder: Path) -> dict[str, Any]:
    tiny_model = importlib.import_module("tiny_model")  # of the tests
    path = tiny_model.write_tiny_model(folder / "tiny.onnx")
    return {"name": "tiny", "path": str(path), "save_plan": False}


def _minilm(tokens: int) -> dict[str, Any]:
    path = models.build("minilm_l6")
    return {
        "name": "minilm",
        "path": str(path),
        "max_batch_size": CLIENTS,
        "save_plan": False,
        "warm_up": {"sequence": [tokens]},
    }


def _request(running: Running, name: str, tokens: int = SEQUENCE) -> bytes:
    specs = read_inputs(running.server, name)
    shapes = {spec.name: _row(spec.shape or (), tokens) for spec in specs}
    return infer_request(running.server, name, random_feeds(specs, shapes), "binary")


def _row(shape: Sequence[Any], tokens: int) -> tuple[int, ...]:
    """One row, of so many tokens where a further size is free."""
    return tuple(
        size if isinstance(size, int) else (1 if axis == 0 else tokens)
        for axis, size in enumerate(shape)
    )


def _traffic(running: Running, request: bytes) -> Traffic:
    return Traffic(running.server.connect, (request,), warm_up_s=WARM_UP_S)


def _closed(running: Running, request: bytes, clients: int, seconds: float) -> Step:
    return loop.run(send_closed_loop(_traffic(running, request), clients, seconds))


async def _saturation(traffic: Traffic, seconds: float) -> tuple[Step, Step]:
    """(one client, the best of all numbers of clients)"""
    steps = await find_saturation(lambda n: send_closed_loop(traffic, n, seconds), 128)
    return steps[0], max(steps, key=lambda step: step.goodput_per_s)


# --- parts --------------------------------------------------------------------------------------


def overhead(chosen: argparse.Namespace) -> Mapping[str, Any]:
    """A tiny model against a bare echo of the same requests, by waiting clients that cost next to
    nothing, in turns; over binary REST and over gRPC."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ours = stack.enter_context(serving(_tiny(Path(folder))))
        bare = stack.enter_context(echoing())
        request, call = _request(ours, "tiny"), _call("tiny")
        kinds: Mapping[str, Callable[[Running], Connection]] = {
            "rest": lambda running: HttpConnection(running.server.port, request),
            "grpc": lambda running: GrpcConnection(running.grpc_port, METHOD, call),
        }
        seconds = chosen.seconds / ROUNDS / len(kinds)

        def measure(running: Running, kind: str) -> tuple[float, float]:
            """(answers per second, CPU time of the server for each)"""
            before, start = usage_of(running.pid).cpu_s, time.perf_counter()
            rate = answers_per_s(lambda: kinds[kind](running), CLIENTS, seconds)
            answers = rate * (time.perf_counter() - start)
            return rate, (usage_of(running.pid).cpu_s - before) / answers

        rounds = [
            {kind: (measure(ours, kind), measure(bare, kind)) for kind in kinds}
            for _ in range(ROUNDS)
        ]
    return {
        f"{kind}_{name}": value
        for kind in kinds
        for name, value in _compare([row[kind] for row in rounds]).items()
    }


def _compare(rounds: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> dict[str, float]:
    """Medians of (rate, CPU time) of ours and of the echo."""
    return {
        "ours_per_s": _median(own[0] for own, _ in rounds),
        "echo_per_s": _median(echo[0] for _, echo in rounds),
        "share": _median(own[0] / echo[0] for own, echo in rounds),
        "ours_cpu_us": 1e6 * _median(own[1] for own, _ in rounds),
        "echo_cpu_us": 1e6 * _median(echo[1] for _, echo in rounds),
        "share_by_cpu": _median(echo[1] / own[1] for own, echo in rounds),
    }


METHOD = "/inference.GRPCInferenceService/ModelInfer"


def _call(name: str) -> bytes:
    """A gRPC request of the tiny model."""
    x = np.ones((1, 12), np.float32)
    message = messages()["ModelInferRequest"](model_name=name)
    message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    message.raw_input_contents.append(x.tobytes())
    return bytes(message.SerializeToString())


def batching(chosen: argparse.Namespace) -> Mapping[str, Any]:
    """MiniLM by waiting clients, against the engine's own batches, and the server without them;
    in turns."""
    model = {**_minilm(chosen.sequence), **PATIENT}
    with ExitStack() as stack:
        batched = stack.enter_context(serving(model))
        alone = stack.enter_context(serving({**model, "max_batch_size": 0}))
        request = _request(batched, "minilm", chosen.sequence)
        seconds = chosen.seconds / ROUNDS

        def measure(running: Running) -> float:
            return _closed(running, request, CLIENTS, seconds).goodput_per_s

        path = Path(model["path"])
        rounds = [
            (measure(batched), measure(alone), _engine_rows_per_s(path, seconds, chosen.sequence))
            for _ in range(ROUNDS)
        ]
    return {
        "batched_per_s": _median(row[0] for row in rounds),
        "unbatched_per_s": _median(row[1] for row in rounds),
        "engine_per_s": _median(row[2] for row in rounds),
        "share_of_engine": _median(row[0] / row[2] for row in rounds),
        "gain_of_batching": _median(row[0] / row[1] for row in rounds),
    }


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def _engine_rows_per_s(path: Path, seconds: float, tokens: int) -> float:
    """On the server's CPUs, in a process of its own: this one is pinned to the client's."""
    script = str(Path(__file__).resolve())
    command = [sys.executable, script, "--engine", str(path), str(seconds), str(tokens)]
    cpus = _server_cpus()
    run = subprocess.run(
        command, preexec_fn=lambda: os.sched_setaffinity(0, cpus), check=True, capture_output=True
    )
    return float(run.stdout)


def _time_engine(path: str, seconds: str, sequence: str) -> int:
    with colonnade.compile(path) as engine:
        shapes = {info.name: (CLIENTS, int(sequence)) for info in engine.inputs}
        rng = np.random.default_rng(0)
        arrays = {
            i.name: np.ones(shapes[i.name], i.dtype)
            if "mask" in i.name
            else rng.integers(0, 2, shapes[i.name]).astype(i.dtype)
            for i in engine.inputs
        }
        engine.run(arrays)
        start, runs = time.perf_counter(), 0
        while time.perf_counter() - start < float(seconds):
            engine.run(arrays)
            runs += 1
        print(CLIENTS * runs / (time.perf_counter() - start))
    return 0


def overload(chosen: argparse.Namespace) -> Mapping[str, Any]:
    """MiniLM at twice saturation: goodput, latency of accepted requests, memory."""
    step_s = min(5.0, chosen.seconds)
    settle_s = min(SETTLE_S, chosen.seconds / 2)
    best = _saturation_of({**_minilm(chosen.sequence), **PATIENT}, step_s, chosen.sequence)
    with serving(_minilm(chosen.sequence)) as running:
        request = _request(running, "minilm", chosen.sequence)
        traffic = _traffic(running, request)
        unloaded = _closed(running, request, 1, 2 * step_s)

        async def work() -> tuple[Step, list[Usage], list[float]]:
            samples: list[Usage] = []
            watcher = asyncio.create_task(watch(running.pid, samples))
            before, start = _cpu_s(running.pid), time.perf_counter()
            loaded = await send_open_loop(
                replace(traffic, warm_up_s=settle_s), 2.0 * best.goodput_per_s, chosen.seconds
            )
            wall_s = time.perf_counter() - start
            shares = [(b - a) / wall_s for a, b in zip(before, _cpu_s(running.pid), strict=True)]
            watcher.cancel()
            return loaded, samples, shares

        loaded, samples, shares = loop.run(work())
    settled = samples[int(settle_s) :]
    rss = [sample.rss_bytes for sample in settled]
    return {
        "saturation_per_s": best.goodput_per_s,
        "unloaded_p99_ms": unloaded.p99_ms,
        "loaded": asdict(loaded),
        "goodput_share": loaded.goodput_per_s / best.goodput_per_s,
        "p99_ratio": _ratio(loaded.p99_ms, unloaded.p99_ms),
        "event_loop_share_of_cpu": shares[0],
        "other_threads_share_of_cpu": shares[1],
        "rss_growth": max(rss) / rss[0] - 1.0 if rss else None,
        "descriptors": sorted({sample.descriptors for sample in settled})[-1:],
        "threads": sorted({sample.threads for sample in settled}),
    }


def _cpu_s(pid: int) -> tuple[float, float]:
    """CPU time so far of a process's first thread (the event loop) and of all others."""
    first = others = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
        if int(task.name) == pid:
            first = seconds
        else:
            others += seconds
    return first, others


def _saturation_of(model: Mapping[str, Any], seconds: float, tokens: int) -> Step:
    """The step of the best goodput."""
    with serving(model) as running:
        traffic = _traffic(running, _request(running, str(model["name"]), tokens))
        return loop.run(_saturation(traffic, seconds))[1]


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def reload(chosen: argparse.Namespace) -> Mapping[str, Any]:
    """Reloads of the tiny model while requests come: planning a model again takes the server's only
    CPU most of the time."""
    with tempfile.TemporaryDirectory() as folder, serving(_tiny(Path(folder))) as running:
        request = _request(running, "tiny")
        answers: set[bytes] = set()
        options = PoolOptions(check=lambda body: not answers.add(_tensors(body)))  # type: ignore[func-returns-value]
        traffic = Traffic(running.server.connect, (request,), options, warm_up_s=0.0)
        best = _closed(running, request, CLIENTS, min(5.0, chosen.seconds))

        def reload_all() -> int:
            for _ in range(chosen.reloads):
                _load(running.server, "tiny")
            return int(chosen.reloads)

        async def work() -> tuple[int, list[Step]]:
            reloading = asyncio.create_task(asyncio.to_thread(reload_all))
            rate = chosen.reload_load * best.goodput_per_s
            steps = [await send_open_loop(traffic, rate, 5.0)]
            while not reloading.done():
                steps.append(await send_open_loop(traffic, rate, 5.0))
            return await reloading, steps

        before = usage_of(running.pid)
        reloads, steps = loop.run(work())
        after = usage_of(running.pid)
    sent = sum(step.sent for step in steps)
    return {
        "reloads": reloads,
        "load": chosen.reload_load,
        "saturation_per_s": best.goodput_per_s,
        "requests": sent,
        "failed": sent - sum(step.outcomes.get("200", 0) for step in steps),
        "outcomes": dict(sum((Counter(step.outcomes) for step in steps), Counter())),
        "different_answers": len(answers),
        "before": asdict(before),
        "after": asdict(after),
    }


def _tensors(body: bytes) -> bytes:
    """The raw tensors behind the JSON, which differs from request to request."""
    return body[body.rindex(b"}") + 1 :]


def _load(server: Server, name: str) -> None:
    """Load a model again."""
    client = http.client.HTTPConnection(server.host, server.port, timeout=60)
    client.request("POST", f"/v2/repository/models/{name}/load", b"{}")
    answer = client.getresponse()
    text = answer.read()
    client.close()
    if answer.status != http.client.OK:
        raise RunError(f"load of {name!r}: status {answer.status}, expected 200: {text[:200]!r}")


def disconnects(chosen: argparse.Namespace) -> Mapping[str, Any]:
    """One client in ten hangs up on its request; what the server still holds afterwards."""
    best = _saturation_of({**_minilm(chosen.sequence), **PATIENT}, 5.0, chosen.sequence)
    with serving(_minilm(chosen.sequence)) as running:
        traffic = replace(
            _traffic(running, _request(running, "minilm", chosen.sequence)),
            abandoned_share=0.1,
            warm_up_s=0.0,
        )

        async def work() -> list[tuple[Step, Usage]]:
            found = []
            for _ in range(3):
                step = await send_open_loop(traffic, 0.8 * best.goodput_per_s, chosen.seconds)
                await asyncio.sleep(2.0)
                found.append((step, usage_of(running.pid)))
            return found

        found = loop.run(work())
    return {"rounds": [{**step.outcomes, **asdict(usage)} for step, usage in found]}


PARTS: Mapping[str, Part] = {
    "overhead": overhead,
    "batching": batching,
    "overload": overload,
    "reload": reload,
    "disconnects": disconnects,
}


# --- the note -----------------------------------------------------------------------------------


def write_note(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Put the figures between their marks; at the end of a note without marks."""
    text = path.read_text() if path.is_file() else "# 0010: Serving\n"
    before, begin, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if begin else "\n"
    block = "\n".join([BEGIN, "", *_rows(found), "", END])
    path.write_text(f"{before.rstrip()}\n\n{block}{after}")


def _rows(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = ["| part | figure | value | machine |", "|---|---|---|---|"]
    for part, figures in found.items():
        machine = figures["machine"]
        where = (
            f"{machine.get('cpu', '')}, server on {len(machine['server_cpus'])} CPUs, "
            f"load average {machine.get('load_average', 0.0):.0f}"
        )
        for name, value in figures.items():
            if name != "machine":
                rows.append(f"| {part} | {name.replace('_', ' ')} | {_cell(value)} | {where} |")
    return rows


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return "; ".join(_cell(item) for item in value)
    return str(value)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--engine"]:
        sys.exit(_time_engine(*sys.argv[2:5]))
    sys.exit(main())
