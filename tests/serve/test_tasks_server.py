"""Tasks in a whole server: through its queues, its keys and limits, and from DeepSparse's file."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import httpx
import numpy as np
import yaml
from PIL import Image

from colonnade.serve.config import ServerConfig, parse_config
from colonnade.serve.server import Server
from constant_model import write_constant_model

WAIT_S = 60


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(file, "PNG")
    return file.getvalue()


def ask(
    config: ServerConfig, *requests: tuple[str, str, dict[str, object]]
) -> list[httpx.Response]:
    """Answers of a server on loopback to requests, one after the other."""

    async def go() -> list[httpx.Response]:
        server = Server(config)
        ports = await server.start()
        try:
            base = f"http://127.0.0.1:{ports.http}"
            async with httpx.AsyncClient(base_url=base, timeout=WAIT_S) as client:
                return [await client.request(m, path, **more) for m, path, more in requests]
        finally:
            await server.stop()

    return asyncio.run(go())


def write_classes(folder: Path) -> Path:
    logits = {"logits": np.array([0.0, 3.0])}
    return write_constant_model(folder / "model.onnx", {"x": ("batch", 3, 8, 8)}, logits)


def test_a_task_of_the_configuration(tmp_path: Path) -> None:
    write_classes(tmp_path)
    given = {
        "port": 0,
        "threads": 1,
        "models": [{"name": "classes", "path": "model.onnx"}],
        "tasks": [{"name": "cats", "task": "image-classification", "model": "classes"}],
        "limits": {"body_bytes": 10_000},
    }
    config = parse_config(given, tmp_path / "server.yaml")
    headers = {"content-type": "image/png"}
    good, large, unknown, listed, model = ask(
        config,
        ("POST", "/v1/tasks/cats", {"content": png(), "headers": headers}),
        ("POST", "/v1/tasks/cats", {"content": bytes(10_001), "headers": headers}),
        ("POST", "/v1/tasks/dogs", {"json": {"inputs": ""}}),
        ("GET", "/v1/models", {}),
        ("GET", "/v2/models/classes", {}),
    )
    assert good.status_code == 200, good.text
    assert good.json()["results"][0][0]["label"] == "LABEL_1"
    assert (large.status_code, unknown.status_code) == (413, 404)
    assert [entry["id"] for entry in listed.json()["data"]] == ["cats"]
    assert model.status_code == 200


def test_a_deepsparse_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write_classes(tmp_path / "folder")
    text = """
    num_cores: 1
    num_workers: 2
    endpoints:
      - {name: cats, task: image_classification, model: folder, batch_size: 2, kwargs: {top_k: 1}}
    """
    config = parse_config(yaml.safe_load(text), tmp_path / "server.yaml")
    assert (config.threads, config.models[0].max_batch_size) == (1, 2)
    config = config.model_copy(update={"port": 0})
    good, bad = ask(
        config,
        ("POST", "/v2/models/cats/infer/from_files", {"files": {"request": png()}}),
        ("POST", "/v2/models/cats/infer", {"json": {"images": ["/etc/passwd"]}}),
    )
    assert good.json()["labels"] == [["LABEL_1"]], good.text
    assert bad.status_code == 400
