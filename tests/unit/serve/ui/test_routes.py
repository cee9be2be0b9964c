"""The page's routes on a real server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from colonnade.serve.config import ModelConfig, ServerConfig
from running_server import Running, running
from tiny_model import write_tiny_model

KEY = "k" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("ui")
    keys = folder / "keys"
    keys.write_text(KEY)
    models = [
        ModelConfig(name="tiny", path=write_tiny_model(folder / "tiny.onnx"), save_plan=False),
        ModelConfig(name="gone", path=folder / "gone.onnx"),
    ]
    with running(ServerConfig(models=models, api_keys_file=keys)) as found:
        yield found


def ask(
    server: Running, path: str, body: Any = None, key: str | None = KEY
) -> tuple[int, Any, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{server.http}{path}", data, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_the_feed_counts_what_was_answered(server: Running) -> None:
    before = json.loads(ask(server, "/ui/data")[2])["models"][0]["statistics"]["success_count"]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 12], "data": [0.5] * 12}
    assert ask(server, "/v2/models/tiny/infer", {"inputs": [tensor]})[0] == 200
    found = json.loads(ask(server, "/ui/data")[2])
    tiny, gone = found["models"]
    assert tiny["statistics"]["success_count"] == before + 1
    assert sum(tiny["statistics"]["latency"]) == before + 1
    assert len(tiny["statistics"]["latency"]) == len(found["bounds_s"]) + 1
    assert tiny["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 12]}]
    assert (gone["state"], found["ready"]) == ("UNAVAILABLE", False)
    assert gone["reason"]


def test_layers_are_explained(server: Running) -> None:
    status, _, body = ask(server, "/ui/explain?model=tiny")
    found = json.loads(body)
    assert status == 200
    assert {"name", "op", "kernel", "why", "bytes", "weights", "runtime"} <= set(found["nodes"][0])
    assert ask(server, "/ui/explain?model=other")[0] == 404


def test_without_a_key_there_is_the_page_but_no_data(server: Running) -> None:
    for key in (None, "wrong"):
        status, headers, body = ask(server, "/ui", key=key)
        assert status == 401
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert b"colonnade</h1>" in body
        assert ask(server, "/ui/data", key=key)[0] == 401
        assert ask(server, "/ui/explain?model=tiny", key=key)[0] == 401
    assert ask(server, "/ui")[0] == 200
