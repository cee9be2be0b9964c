"""The OpenAPI document: valid, complete, and the same from the server and from the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from typer.testing import CliRunner

from colonnade.cli.main import app as command
from colonnade.serve.config import ModelConfig, ServerConfig
from colonnade.serve.http.app import Route
from colonnade.serve.http.openapi import make_document, statuses
from running_server import Running, running
from tiny_model import write_tiny_model

KEY = "a-key-for-this-test-only"
KEYED = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("models")
    (folder / "keys").write_text(KEY)
    model = ModelConfig(name="tiny", path=write_tiny_model(folder / "tiny.onnx"))
    with running(ServerConfig(models=[model], api_keys_file=folder / "keys")) as found:
        yield found


@pytest.fixture(scope="module")
def document(server: Running) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    answer = httpx.get(f"http://{server.http}/openapi.json", headers=KEYED)
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, dict[str, dict[str, dict[str, object]]]] = answer.json()
    return found


def test_it_is_openapi(document: dict[str, object]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_it_needs_a_key(server: Running) -> None:
    assert httpx.get(f"http://{server.http}/openapi.json").status_code == 401


def test_every_route_is_in_it_and_nothing_else(
    server: Running, document: dict[str, dict[str, dict[str, object]]]
) -> None:
    there = {(route.method, route.path) for route in server.server.routes}
    described = {
        (method.upper(), path) for path, found in document["paths"].items() for method in found
    }
    assert described == there


def test_every_answer_has_a_schema_or_is_bytes(
    server: Running, document: dict[str, dict[str, dict[str, dict[str, object]]]]
) -> None:
    for route in server.server.routes:
        responses = document["paths"][route.path][route.method.lower()]["responses"]
        assert isinstance(responses, dict)
        assert {int(status) for status in responses} == {200, *statuses(route)}
        for response in responses.values():
            assert all(
                m != "application/json" or "schema" in c for m, c in response["content"].items()
            )


def test_a_route_that_says_nothing_is_refused() -> None:
    async def handler(_: object) -> None: ...

    with pytest.raises(ValueError, match="GET /new says nothing"):
        make_document([Route("GET", "/new", handler)])


def test_the_command_prints_it(document: dict[str, object]) -> None:
    made = CliRunner().invoke(command, ["serve", "--openapi"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout) == document


def test_a_wrong_method_hears_which_are_right(server: Running) -> None:
    with httpx.Client(base_url=f"http://{server.http}", headers=KEYED) as client:
        wrong = client.delete("/v2/models/tiny")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
        assert client.get("/v2/models/tiny/infer").headers["allow"] == "POST"
        head = client.head("/v2/models/tiny")
        assert (head.status_code, head.content) == (200, b"")
        twice = client.get("/v2/models/%2574iny")
        assert (twice.status_code, twice.json()["error"]) == (404, "unknown model '%74iny'")
