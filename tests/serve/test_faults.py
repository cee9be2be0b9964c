"""Clients that misbehave, keys, overload, deadlines, reloads: the server answers the next request."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from colonnade.serve.config import Limits, ModelConfig, ServerConfig
from running_server import Running, hold, running
from tiny_model import FEATURES, write_tiny_model

INFER = "/v2/models/tiny/infer"


def body(value: float = 1.0) -> dict[str, object]:
    data = [value] * FEATURES
    return {"inputs": [{"name": "x", "shape": [1, FEATURES], "datatype": "FP32", "data": data}]}


def tiny(folder: Path, **options: object) -> ModelConfig:
    path = write_tiny_model(folder / "tiny.onnx")
    return ModelConfig.model_validate({"name": "tiny", "path": path, **options})


def talk(found: Running, data: bytes, wait_s: float = 10.0) -> bytes:
    """What comes back until the server closes, or until nothing more comes."""
    with socket.create_connection(("127.0.0.1", found.ports.http)) as raw:
        raw.sendall(data)
        raw.settimeout(wait_s)
        parts = []
        try:
            while part := raw.recv(65536):
                parts.append(part)
        except (TimeoutError, ConnectionResetError):
            parts.append(b"<still open>")
        return b"".join(parts)


def is_well(found: Running) -> bool:
    return httpx.post(f"http://{found.http}{INFER}", json=body()).status_code == 200


def test_bodies_and_headers_that_are_too_large_or_too_slow(tmp_path: Path) -> None:
    limits = Limits(
        body_bytes=2000, header_bytes=2000, headers=20, header_timeout_s=0.3, body_timeout_s=0.3
    )
    with running(ServerConfig(models=[tiny(tmp_path)], limits=limits)) as found:
        start = b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost: a\r\n"
        exact = b" " * 2000
        cases = {
            b"413": start + b"content-length: 2001\r\n\r\n",
            b"400": start + b"content-length: 2000\r\nconnection: close\r\n\r\n" + exact,
            b"431": start + b"x: " + b"y" * 3000 + b"\r\n\r\n",
            b"408": b"POST / HTTP/1.1\r\nhost",
        }
        for status, data in cases.items():
            assert talk(found, data).startswith(b"HTTP/1.1 " + status), status
        many = b"".join(b"h%d: 1\r\n" % i for i in range(30))
        assert talk(found, start + many + b"\r\n").startswith(b"HTTP/1.1 431")
        never = start + b"content-length: 100\r\n\r\n{"
        assert talk(found, never).startswith(b"HTTP/1.1 408")
        assert b"<still open>" not in talk(found, b"")
        assert is_well(found)


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[" * 100_000,
        b'{"inputs": 3}',
        b'{"inputs": [{"name": "x", "shape": [-1], "datatype": "FP32", "data": [1]}]}',
        b'{"inputs": [{"name": "x", "shape": [1e9, 1e9], "datatype": "FP32", "data": [1]}]}',
        b'{"inputs": [{"name": "x", "shape": [9223372036854775807, 8], "datatype": "FP32",'
        b' "data": [1]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP33", "data": [1]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": [1000]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["\\ud800"]}]}',
        b"\xff\xfe",
    ],
)
def test_bodies_that_make_no_sense_are_refused(tmp_path: Path, text: bytes) -> None:
    with running(ServerConfig(models=[tiny(tmp_path)])) as found:
        answer = httpx.post(f"http://{found.http}{INFER}", content=text)
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert is_well(found)


def test_every_route_needs_a_key_but_liveness(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# two of them\nfirst-key\nsecond-key\n")
    config = ServerConfig(models=[tiny(tmp_path)], api_keys_file=keys, model_control=True)
    with running(config) as found:
        routes = found.server.routes
        paths = {route.path.replace("{model}", "tiny") for route in routes if not route.is_open}
        paths = {path.replace("{version}", "1").replace("{name}", "n") for path in paths}
        tricks = [*paths, "/v2/nope", "//v2", "/v2/../v2", "/V2/models/tiny", "/v2/", "/%76%32"]
        wrong = [{}, {"authorization": "Bearer wrong"}, {"authorization": "first-key"},
                 {"authorization": "Basic first-key"}, {"x-api-key": "first-key"}]  # fmt: skip
        with httpx.Client(base_url=f"http://{found.http}") as client:
            for path, method in itertools.product(
                tricks, ("GET", "POST", "HEAD", "PUT", "OPTIONS")
            ):
                assert client.request(method, path).status_code == 401, (method, path)
            for headers in wrong:
                assert client.post(INFER, json=body(), headers=headers).status_code == 401
                assert client.get("/metrics?key=first-key", headers=headers).status_code == 401
            for key in ("first-key", "second-key"):
                headers = {"authorization": f"Bearer {key}"}
                assert client.post(INFER, json=body(), headers=headers).status_code == 200
            assert client.get("/v2/health/live").status_code == 200


def test_an_empty_file_of_keys_is_no_server_without_keys(tmp_path: Path) -> None:
    from colonnade.errors import InputError

    keys = tmp_path / "keys"
    keys.write_text("# none yet\n")
    with (
        pytest.raises(InputError, match="holds no key"),
        running(ServerConfig(models=[tiny(tmp_path)], api_keys_file=keys)),
    ):
        pass


def test_a_full_queue_answers_429_and_a_deadline_504(tmp_path: Path) -> None:
    config = ServerConfig(models=[tiny(tmp_path, queue_depth_max=2, max_batch_size=0)])
    with running(config) as found:
        free = hold(found, "tiny")

        async def ask() -> list[httpx.Response]:
            async with httpx.AsyncClient(base_url=f"http://{found.http}", timeout=60) as client:
                late = body() | {"parameters": {"timeout": 50_000}}
                first = asyncio.ensure_future(client.post(INFER, json=body()))
                while found.server.repository.served("tiny").statistics.pending < 1:
                    await asyncio.sleep(0.01)
                timed = asyncio.ensure_future(client.post(INFER, json=late))
                while found.server.repository.served("tiny").statistics.pending < 2:
                    await asyncio.sleep(0.01)
                waiting = asyncio.ensure_future(client.post(INFER, json=body()))
                while found.server.repository.served("tiny").statistics.pending < 3:
                    await asyncio.sleep(0.01)
                refused = await client.post(INFER, json=body())
                expired = await timed
                free.set()
                return [await first, expired, await waiting, refused]

        answers = asyncio.run(ask())
        assert [answer.status_code for answer in answers] == [200, 504, 200, 429]
        assert int(answers[3].headers["retry-after"]) >= 1
        failures = found.server.repository.served("tiny").statistics.failures
        assert (failures["overloaded"], failures["deadline"]) == (1, 1)


def test_a_client_that_goes_away_takes_its_request_along(tmp_path: Path) -> None:
    with running(ServerConfig(models=[tiny(tmp_path, max_batch_size=0)])) as found:
        free = hold(found, "tiny")
        statistics = found.server.repository.served("tiny").statistics

        async def leave() -> None:
            async with httpx.AsyncClient(base_url=f"http://{found.http}", timeout=60) as client:
                first = asyncio.ensure_future(client.post(INFER, json=body()))
                while statistics.pending < 1:
                    await asyncio.sleep(0.01)
                gone = asyncio.ensure_future(client.post(INFER, json=body(2.0)))
                while statistics.pending < 2:
                    await asyncio.sleep(0.01)
                gone.cancel()
                while statistics.pending > 1:
                    await asyncio.sleep(0.01)
                free.set()
                assert (await first).status_code == 200

        asyncio.run(leave())
        assert statistics.failures == {"cancelled": 1}
        assert statistics.execution_count == 1


def test_answers_seen_before_come_from_the_cache(tmp_path: Path) -> None:
    with running(ServerConfig(models=[tiny(tmp_path, cache_bytes=10_000)])) as found:
        answers = [
            httpx.post(f"http://{found.http}{INFER}", json=body(v)).json() for v in (1, 1, 2)
        ]
        assert answers[0] == answers[1] != answers[2]
        statistics = found.server.repository.served("tiny").statistics
        assert (statistics.cache_hit.count, statistics.cache_miss.count) == (1, 2)
        assert statistics.execution_count == 2


def test_hot_reloads_under_load_lose_nothing_and_mix_nothing(tmp_path: Path) -> None:
    config = ServerConfig(models=[tiny(tmp_path, save_plan=False)])
    reloads = 100
    with running(config) as found:
        repository = found.server.repository
        answers: list[tuple[int, float]] = []
        done = threading.Event()

        def load() -> None:
            with httpx.Client(base_url=f"http://{found.http}") as client:
                while not done.is_set():
                    answer = client.post(INFER, json=body())
                    values = answer.json()["outputs"][0]["data"]
                    answers.append((answer.status_code, float(np.sum(values))))

        clients = [threading.Thread(target=load) for _ in range(2)]
        for thread in clients:
            thread.start()
        sums = set()
        for index in range(reloads):
            bias = 0.25 + index % 2
            write_tiny_model(tmp_path / "tiny.onnx", bias=bias)
            found.call(repository.load("tiny"))
            got = httpx.post(f"http://{found.http}{INFER}", json=body()).json()
            sums.add(float(np.sum(got["outputs"][0]["data"])))
        done.set()
        for thread in clients:
            thread.join()
        assert {status for status, _ in answers} == {200}
        assert {value for _, value in answers} <= sums
        assert len(sums) == 2


def test_a_reload_that_fails_leaves_the_old_model(tmp_path: Path) -> None:
    from colonnade.serve.refusal import Refusal

    with running(ServerConfig(models=[tiny(tmp_path)])) as found:
        (tmp_path / "tiny.onnx").write_bytes(b"this is no model")
        with pytest.raises(Refusal, match="did not load"):
            found.call(found.server.repository.load("tiny"))
        assert is_well(found)
        assert found.server.repository.is_ready


def test_a_changed_file_is_found_and_loaded(tmp_path: Path) -> None:
    config = ServerConfig(models=[tiny(tmp_path)], poll_s=0.02)
    with running(config) as found:
        url = f"http://{found.http}{INFER}"
        before = httpx.post(url, json=body()).json()["outputs"][0]["data"]
        write_tiny_model(tmp_path / "tiny.onnx", bias=5.0)
        while httpx.post(url, json=body()).json()["outputs"][0]["data"] == before:
            pass


def start_process(model: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "colonnade.cli", "serve", str(model), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--grpc-port", "-1", *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("serving at "):
            return process, line.removeprefix("serving at ").split(",")[0].strip()
    raise AssertionError("the server did not start")


def test_sigterm_ends_with_zero_and_a_killed_server_comes_back_with_its_plan(
    tmp_path: Path,
) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    process, url = start_process(model)
    first = httpx.post(f"{url}{INFER}", json=body()).json()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".plan"]
    process, url = start_process(model)
    assert httpx.post(f"{url}{INFER}", json=body()).json() == first
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_port_that_is_taken_is_one_clear_error(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "colonnade.cli", "serve", str(model), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 4
    assert "cannot listen at" in done.stderr
    assert "Traceback" not in done.stderr
