"""Requests that the connection answers by itself get what the route would say."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from colonnade.serve.config import ModelConfig, ServerConfig
from running_server import Running, running
from tiny_model import FEATURES, write_tiny_model

HEAD = {
    "inputs": [
        {
            "name": "x",
            "shape": [1, FEATURES],
            "datatype": "FP32",
            "parameters": {"binary_data_size": 4 * FEATURES},
        }
    ],
    "parameters": {"binary_data_output": True},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    path = write_tiny_model(tmp_path / "tiny.onnx")
    model = ModelConfig(name="tiny", path=path, save_plan=False)
    with running(ServerConfig(log="off", models=[model])) as made:
        yield made


@pytest.fixture
def connection(server: Running) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection(server.http)
    yield made
    made.close()


def ask(
    connection: http.client.HTTPConnection, x: np.ndarray, head: object = HEAD
) -> tuple[int, bytes]:
    text = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    connection.request("POST", "/v2/models/tiny/infer", text + x.tobytes(), headers)
    answer = connection.getresponse()
    body = answer.read()
    begin = int(answer.getheader("Inference-Header-Content-Length") or 0)
    return answer.status, body[begin:]


def rows(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, FEATURES)).astype(np.float32)


def count(server: Running) -> int:
    return int(server.server.repository.served("tiny").statistics.success.count)


def test_repeated_requests_are_computed_each_time(
    server: Running, connection: http.client.HTTPConnection
) -> None:
    first = [ask(connection, rows(seed)) for seed in range(4)]
    again = [ask(connection, rows(seed)) for seed in range(4)]
    assert first == again
    assert {status for status, _ in first} == {200}
    assert len({body for _, body in first}) == 4
    assert count(server) == 8


def test_a_request_without_its_tensor_is_refused_as_ever(
    connection: http.client.HTTPConnection,
) -> None:
    for _ in range(3):
        assert ask(connection, rows(0))[0] == 200
    assert ask(connection, rows(0)[:, 1:])[0] == 400
    assert ask(connection, rows(0))[0] == 200


def test_another_version_of_the_model_answers_after_a_reload(
    server: Running, connection: http.client.HTTPConnection, tmp_path: Path
) -> None:
    before = [ask(connection, rows(0)) for _ in range(3)][-1]
    write_tiny_model(tmp_path / "tiny.onnx", bias=5.0)
    server.call(server.server.repository.load("tiny"))
    after = [ask(connection, rows(0)) for _ in range(3)]
    assert len(set(after)) == 1
    assert after[0] != before


def test_pipelined_requests_are_answered_in_order(
    connection: http.client.HTTPConnection,
) -> None:
    alone = [ask(connection, rows(seed))[1] for seed in range(3)]
    text = json.dumps(HEAD).encode()
    sent = b""
    for seed in range(3):
        body = text + rows(seed).tobytes()
        sent += (
            b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n"
            b"Inference-Header-Content-Length: %d\r\n\r\n" % (len(body), len(text))
        ) + body
    assert connection.sock is not None
    connection.sock.sendall(sent)
    got = b""
    while len(got) == 0 or alone[2] not in got:
        part = connection.sock.recv(1 << 16)
        assert part
        got += part
    places = [got.index(body) for body in alone]
    assert places == sorted(places)


@pytest.mark.parametrize("delay_ms", [0.0, 20.0])
def test_a_fast_model_needs_no_thread_not_even_for_what_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay_ms: float
) -> None:
    monkeypatch.setattr("colonnade.serve.served.HERE_MAX_S", 10.0)
    path = write_tiny_model(tmp_path / "tiny.onnx")
    model = ModelConfig(name="tiny", path=path, save_plan=False, max_delay_ms=delay_ms)
    with running(ServerConfig(log="off", models=[model])) as found:
        served = found.server.repository.served("tiny")
        monkeypatch.setattr(served, "_submit", lambda _: pytest.fail("a thread was asked"))
        with ThreadPoolExecutor(4) as clients:
            answers = list(clients.map(lambda seed: ask_alone(found, seed), range(8)))
        assert {status for status, _ in answers} == {200}
        assert len({body for _, body in answers}) == 8
        # What goes wrong here is told, as it is in a thread.
        monkeypatch.setattr(served, "_try_run", lambda *_: 1 / 0)
        monkeypatch.setattr(served, "_submit", lambda batch: served._run(batch, None))
        if delay_ms:
            assert ask_alone(found, 0)[0] == 500


def ask_alone(found: Running, seed: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(found.http)
    try:
        return ask(connection, rows(seed))
    finally:
        connection.close()
