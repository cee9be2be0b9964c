"""colonnade load-test against a small server on loopback."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from colonnade.cli.main import app

METADATA = {
    "name": "tiny",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 12]}],
    "outputs": [],
}
ROUTES = {
    "POST /v2/repository/index": [{"name": "tiny", "state": "READY"}],
    "GET /v2/models/tiny": METADATA,
    "POST /v2/models/tiny/infer": {"outputs": []},
    "POST /v1/embeddings": {"data": []},
}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = [line.split(": ") for line in head.split("\r\n")[1:] if ": " in line]
            lengths = [int(value) for name, value in fields if name.lower() == "content-length"]
            await reader.readexactly(lengths[0] if lengths else 0)
            answer = ROUTES.get(" ".join(head.split()[:2]))
            body = json.dumps(answer).encode()
            status = "404 Not Found" if answer is None else "200 OK"
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(_serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    asyncio.run_coroutine_threadsafe(_stop(server), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _stop(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


FAST = ("--time", "0.2", "--warmup-time", "0", "--json")


def test_given_rates_make_a_document_and_a_picture(url: str, tmp_path: Path) -> None:
    plot, export = tmp_path / "load.png", tmp_path / "load.json"
    run = CliRunner().invoke(
        app,
        ["load-test", url, *FAST, "-r", "100", "-r", "50", "--plot", str(plot), "-x", str(export)],
    )
    assert run.exit_code == 0, run.output
    document = json.loads(run.stdout)
    assert document == json.loads(export.read_text())
    assert document["target"] == "tiny"
    assert [set(step["outcomes"]) for step in document["open"]] == [{"200"}, {"200"}]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_saturation_is_found(url: str) -> None:
    run = CliRunner().invoke(
        app, ["load-test", url, "--time", "2", *FAST[2:], "--clients", "1", "--load", "0.5"]
    )
    assert run.exit_code == 0, run.output
    document = json.loads(run.stdout)
    assert document["saturation_per_s"] > 0
    assert [step["clients"] for step in document["closed"]] == [1]


def test_another_route_gets_the_body(url: str, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"input": "a"}')
    route = ("--path", "/v1/embeddings", "--body", str(body))
    run = CliRunner().invoke(app, ["load-test", url, *FAST, "-r", "50", *route])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["target"] == "/v1/embeddings"


def test_an_unknown_model_is_told(url: str) -> None:
    run = CliRunner().invoke(app, ["load-test", url, *FAST, "--model", "other"])
    assert run.exit_code == 1
    assert "status 404" in json.loads(run.stdout)["error"]["message"]


def test_a_path_without_a_body_is_refused(url: str) -> None:
    run = CliRunner().invoke(app, ["load-test", url, *FAST, "--path", "/v1/embeddings"])
    assert run.exit_code == 2
