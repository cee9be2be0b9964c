"""With API keys set, nothing but liveness answers without one."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from colonnade.serve.config import ModelConfig, ServerConfig
from running_server import Running, running
from tiny_model import write_tiny_model

KEY = "a-key-for-this-test-only"
METHODS = ("GET", "POST", "OPTIONS")
TRICKS = [
    "{}",
    "/{}",
    "{}/",
    "{}?key=" + KEY,
    "{}%00",
    "{};a=b",
    "/v2/health/live/..{}",
    "/v2/health/live%2f..{}",
    "/.{}",
    "http://x{}",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("models")
    keys = folder / "keys"
    keys.write_text(f"# ours\n{KEY}\n")
    model = ModelConfig(name="tiny", path=write_tiny_model(folder / "tiny.onnx"))
    with running(ServerConfig(models=[model], api_keys_file=keys)) as found:
        yield found


def paths() -> list[str]:
    named = ["", "/ready", "/config", "/stats", "/infer", "/versions/1", "/versions/1/infer"]
    fixed = ["/", "/v2", "/v2/health/ready", "/metrics", "/docs", "/ui/data", "/ui/explain"]
    control = ["/v2/repository/index", "/v2/repository/models/tiny/load", "/v2/models/stats"]
    return [*fixed, *control, *(f"/v2/models/tiny{rest}" for rest in named)]


def ask(connection: http.client.HTTPConnection, method: str, path: str, value: str | None) -> int:
    connection.request(method, path, headers={} if value is None else {"authorization": value})
    answer = connection.getresponse()
    answer.read()
    return answer.status


@pytest.mark.slow
@pytest.mark.parametrize("trick", TRICKS)
def test_every_route_method_and_spelling_needs_a_key(server: Running, trick: str) -> None:
    connection = http.client.HTTPConnection(server.http, timeout=30)
    for path in [*paths(), "/V2/HEALTH/LIVE"]:
        for method in METHODS:
            assert ask(connection, method, trick.format(path), None) in (400, 401), (method, path)
    connection.close()


@pytest.mark.parametrize(
    "value", ["", "Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", KEY, "Bearer é"]
)
def test_a_wrong_key_does_not_let_in(server: Running, value: str) -> None:
    connection = http.client.HTTPConnection(server.http, timeout=30)
    assert ask(connection, "GET", "/v2/health/ready", value) == 401
    connection.close()


def test_liveness_is_open_and_the_key_opens_the_rest(server: Running) -> None:
    connection = http.client.HTTPConnection(server.http, timeout=30)
    assert ask(connection, "GET", "/v2/health/live", None) == 200
    assert ask(connection, "GET", "/v2/models/tiny", f"Bearer {KEY}") == 200
    assert ask(connection, "GET", "/nothing", f"Bearer {KEY}") == 404
    connection.close()
