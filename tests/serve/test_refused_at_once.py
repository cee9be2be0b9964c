"""A model with no room says so before it reads the request, in the words of the route."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from colonnade.serve.config import ModelConfig, ServerConfig
from colonnade.serve.refusal import Refusal
from colonnade.serve.task_models import RepositoryModels
from running_server import Running, hold, running
from tiny_model import FEATURES, write_tiny_model

INFER = "/v2/models/tiny/infer"
VERSION = "/v2/models/tiny/versions/1/infer"
"""Never answered at once."""
KEY = {"authorization": "Bearer secret"}


def body(**parameters: object) -> dict[str, Any]:
    data = [1.0] * FEATURES
    tensor = {"name": "x", "shape": [1, FEATURES], "datatype": "FP32", "data": data}
    return {"inputs": [tensor], "parameters": parameters}


@dataclass(frozen=True)
class Answer:
    """Status, headers and the JSON of a body."""

    status_code: int
    headers: dict[str, str]
    text: dict[str, Any]


def post(server: Running, path: str, text: dict[str, Any], **headers: str) -> Answer:
    """Headers and body in one piece: what comes in two is not looked at at once."""
    connection = http.client.HTTPConnection(server.http, timeout=60)
    try:
        connection.request("POST", path, json.dumps(text).encode(), KEY | headers)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), json.loads(answer.read()))
    finally:
        connection.close()


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Running]:
    """A server whose model runs one request and lets another wait: no more may."""
    (tmp_path / "keys").write_text("secret\n")
    path = write_tiny_model(tmp_path / "tiny.onnx")
    model = ModelConfig(name="tiny", path=path, max_batch_size=0, queue_depth_max=1)
    config = ServerConfig(log="off", models=[model], api_keys_file=tmp_path / "keys")
    with running(config) as found, ThreadPoolExecutor(2) as clients:
        free = hold(found, "tiny")
        answers = [_send_and_wait_for(found, clients, number) for number in (1, 2)]
        yield found
        free.set()
        assert [answer.result().status_code for answer in answers] == [200, 200]


def _send_and_wait_for(found: Running, clients: ThreadPoolExecutor, pending: int) -> Future[Answer]:
    answer = clients.submit(post, found, INFER, body())
    statistics = found.server.repository.served("tiny").statistics
    while statistics.pending < pending:
        time.sleep(0.01)  # the server is in another thread: nothing tells when the request is there
    return answer


def test_it_is_what_the_route_says(full: Running) -> None:
    requests = full.server.repository.served("tiny").statistics
    at_once = post(full, INFER, body(), **{"x-request-id": "mine"})
    route = post(full, VERSION, body(), **{"x-request-id": "mine"})
    assert at_once.status_code == route.status_code == 429
    assert at_once.text == route.text
    assert at_once.text["request_id"] == "mine"
    assert dict(at_once.headers) == dict(route.headers)
    assert requests.failures == {"overloaded": 2}


def test_nothing_of_the_request_is_decoded(full: Running) -> None:
    wrong = {"inputs": [{"name": "no such input"}]}
    assert post(full, INFER, wrong).status_code == 429
    assert post(full, VERSION, wrong).status_code == 400


def test_a_client_without_a_key_hears_of_the_key(full: Running) -> None:
    assert post(full, INFER, body(), authorization="Bearer wrong").status_code == 401


def test_what_says_a_priority_or_is_packed_is_looked_at(full: Running) -> None:
    assert post(full, INFER, body(priority=99)).status_code == 400
    packed = gzip.compress(json.dumps({"inputs": [{"name": "no such input"}]}).encode())
    url, headers = f"http://{full.http}{INFER}", KEY | {"content-encoding": "gzip"}
    assert httpx.post(url, content=packed, headers=headers).status_code == 400
    assert post(full, "/v2/models/other/infer", body()).status_code == 404


def test_requests_of_one_connection_are_refused_and_answered_in_turn(
    full: Running,
) -> None:
    with httpx.Client(base_url=f"http://{full.http}", headers=KEY) as client:
        for _ in range(3):
            assert client.post(INFER, json=body()).status_code == 429
            assert client.get("/v2/models/tiny").status_code == 200


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Running]:
    """A server whose model takes five seconds, by what it knows, and runs one request."""
    path = write_tiny_model(tmp_path / "tiny.onnx")
    model = ModelConfig(name="tiny", path=path, max_batch_size=0)
    with (
        running(ServerConfig(log="off", models=[model])) as found,
        ThreadPoolExecutor(4) as clients,
    ):
        free = hold(found, "tiny")
        found.server.repository.served("tiny").run_s[1] = 5.0
        first = _send_and_wait_for(found, clients, 1)
        yield found
        free.set()
        assert first.result().status_code == 200


def test_a_deadline_before_its_turn_is_504_at_once(slow: Running) -> None:
    start = time.monotonic()
    answer = post(slow, INFER, body(timeout=1_000_000))
    assert (answer.status_code, time.monotonic() - start < 1.0) == (504, True)
    assert "longer than the deadline" in answer.text["error"]
    assert slow.server.repository.served("tiny").statistics.pending == 1


def test_a_task_that_was_let_in_runs_all_of_its_rows(slow: Running) -> None:
    """Its first rows fill the queue: the others are not refused for that."""
    models = RepositoryModels(slow.server.repository)
    statistics = slow.server.repository.served("tiny").statistics
    rows = {"x": np.ones((1, FEATURES), np.float32)}

    async def work() -> list[asyncio.Task[Any]]:
        models.find("tiny")
        submitted = [asyncio.create_task(models.submit("tiny", rows)) for _ in range(3)]
        while statistics.pending < 4:
            await asyncio.sleep(0.01)
        with pytest.raises(Refusal, match="to wait for model 'tiny'"):
            models.find("tiny")
        return submitted

    submitted = slow.call(work())
    assert post(slow, INFER, body()).status_code == 429
    assert not any(task.done() for task in submitted)
