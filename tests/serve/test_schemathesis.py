"""Requests that schemathesis makes of our own OpenAPI document, against a real server.

Each answer has a status, a content type and a body that the document has for its route.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from colonnade.serve.config import ModelConfig, ServerConfig
from constant_model import write_constant_model
from running_server import Running, running
from tiny_model import write_tiny_model

KEY = "a-key-for-this-test-only"
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "unsupported_method",
)  # fmt: skip
EXPECTED = ["2xx", "3xx", "4xx", "503", "504"]
"""A deadline of a microsecond is a right one, and is missed."""
NAMED = {"path.model": "tiny", "path.version": "1", "path.name": "mini", "query.model": "tiny"}
"""So that most requests reach a model; the phase of coverage makes other names."""
SEED = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made / "tiny.onnx")
    logits = {"logits": np.array([0.0, 3.0])}
    write_constant_model(made / "classes.onnx", {"x": ("batch", 3, 8, 8)}, logits)
    (made / "keys").write_text(KEY)
    return made


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Path:
    pytest.importorskip("transformers", reason="transformers makes the model")
    from tiny_encoder import write_encoder

    (folder / "encoder").mkdir()
    write_encoder(folder / "encoder", "plain")
    return folder / "encoder" / "model.onnx"


def config_of(folder: Path, encoder: Path | None = None, *, is_keyed: bool = False) -> ServerConfig:
    """The task `mini` is of texts where there is an encoder, else of images."""
    path, task = folder / "classes.onnx", "image-classification"
    if encoder is not None:
        path, task = encoder, "embeddings"
    models = [
        ModelConfig(name="tiny", path=folder / "tiny.onnx"),
        ModelConfig(name="model", path=path),
    ]
    tasks = [{"name": "mini", "task": task, "model": "model"}]
    keys = folder / "keys" if is_keyed else None
    return ServerConfig(models=models, tasks=tasks, api_keys_file=keys)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with running(config_of(folder)) as found:
        yield found


@pytest.fixture(scope="module")
def text_server(folder: Path, encoder: Path) -> Iterator[Running]:
    with running(config_of(folder, encoder)) as found:
        yield found


def judge(server: Running, folder: Path, *options: str, names: dict[str, str] = NAMED) -> str:
    """What schemathesis says of a server; fails with it."""
    settings = folder / "schemathesis.toml"
    lines = [f'"{name}" = "{value}"' for name, value in names.items()]
    settings.write_text(
        f"[checks]\nnot_a_server_error.expected-statuses = {EXPECTED}\n"
        "[parameters]\n" + "\n".join(lines) + "\n"
    )
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run",
        f"http://{server.http}/openapi.json", "--checks", ",".join(CHECKS), "--seed", str(SEED),
        "--no-shrink", *options,
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert made.returncode == 0, made.stdout[-20_000:] + made.stderr[-2_000:]
    return made.stdout


def test_a_few_examples_of_every_route(server: Running, folder: Path) -> None:
    # The expression matches every path; without it schemathesis leaves one of them out.
    every = ("--include-path-regex", "^/")
    said = judge(server, folder, "--phases", "fuzzing", "--max-examples", "4", *every)
    routes = {(route.method, route.path) for route in server.server.routes}
    assert f"Tested: {len(routes)}\n" in said, said


@pytest.mark.slow
def test_many_examples_and_every_constraint(text_server: Running, folder: Path) -> None:
    judge(text_server, folder, "--phases", "examples,coverage,fuzzing", "--max-examples", "300")


@pytest.mark.slow
def test_every_constraint_with_other_names(text_server: Running, folder: Path) -> None:
    judge(text_server, folder, "--phases", "coverage,fuzzing", "--max-examples", "50", names={})


@pytest.mark.slow
def test_a_server_with_keys(folder: Path, encoder: Path) -> None:
    with running(config_of(folder, encoder, is_keyed=True)) as found:
        header = f"Authorization: Bearer {KEY}"
        judge(found, folder, "-H", header, "--max-examples", "20", "--phases", "fuzzing")
