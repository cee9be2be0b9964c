"""Tasks over HTTP: a real server on loopback, the real OpenAI client, real images."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import wave
from collections.abc import Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette

import colonnade
from colonnade.errors import InputError
from colonnade.serve.deepsparse import read_deepsparse
from colonnade.serve.http.routes.tasks import Exchange, deepsparse_routes, task_routes
from colonnade.serve.task_json import items_of_json, plain, read_wave
from colonnade.serve.tasks import ServedEngine, TaskService, TaskSpec, read_task_specs
from constant_model import write_constant_model
from tiny_model import FEATURES, write_tiny_model

WAIT_S = 60
IMAGE = np.random.default_rng(5).integers(0, 256, (60, 80, 3), dtype=np.uint8)


class EngineModels:
    """Models without a queue."""

    def __init__(self, engines: Mapping[str, colonnade.Engine], rows_max: int = 4) -> None:
        self.engines = dict(engines)
        self.rows_max = rows_max
        self.batches: list[int] = []

    def find(self, name: str) -> ServedEngine:
        if name not in self.engines:
            raise InputError(f"unknown model {name!r}")
        return ServedEngine(self.engines[name], self.rows_max)

    async def submit(self, name: str, feeds: Mapping[str, np.ndarray]) -> Any:
        self.batches.append(next(iter(feeds.values())).shape[0])
        return await asyncio.to_thread(self.engines[name].run, feeds)


async def read_body(scope: Any, receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def wait_for(work: Awaitable[Any], _: Any) -> Any:
    return await work


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, colonnade.Engine]:
    folder = tmp_path_factory.mktemp("models")
    logits = {"logits": np.array([0.0, 3.0])}
    boxes = np.array([[10, 10, 30, 30, 0.9, 0], [40, 20, 50, 50, 0.8, 1.0]])
    write_constant_model(folder / "classes.onnx", {"x": ("batch", 3, 8, 8)}, logits)
    write_constant_model(folder / "boxes.onnx", {"x": ("batch", 3, 80, 80)}, {"output0": boxes})
    write_tiny_model(folder / "tiny.onnx")
    return {
        name: colonnade.compile(folder / f"{name}.onnx", threads=1)
        for name in ("classes", "boxes", "tiny")
    }


SPECS = [
    {
        "name": "cats",
        "task": "image-classification",
        "model": "classes",
        "options": {"class_names": ["cat", "dog"], "top_k": 1},
    },
    {
        "name": "look",
        "steps": {
            "kinds": {"task": "image-classification", "model": "classes", "each": "crops"},
            "crops": {"function": "crop", "from": ["input", "boxes"]},
            "boxes": {
                "task": "yolo",
                "model": "boxes",
                "from": "input",
                "options": {"head": "yolov10"},
            },
        },
        "output": ["boxes", "kinds"],
    },
    {"name": "raw", "task": "custom", "model": "tiny", "options": {}},
]


def service_of(models: EngineModels, specs: Any = SPECS) -> TaskService:
    return TaskService(read_task_specs(specs, "server"), models, lambda _: None)


@pytest.fixture
def client(engines: dict[str, colonnade.Engine]) -> Iterator[Any]:
    """Sends one request to the routes, in process."""
    service = service_of(EngineModels(engines))
    app = Starlette(routes=task_routes(service, Exchange(read_body, wait_for)))

    def send(method: str, path: str, **options: Any) -> httpx.Response:
        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                return await http.request(method, path, **options)

        return asyncio.run(go())

    yield send
    service.close()


def png(array: np.ndarray = IMAGE) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_images_come_in_four_ways(client: Any) -> None:
    data = png()
    text = base64.b64encode(data).decode()
    answers = [
        client("POST", "/v1/tasks/cats", json={"inputs": text}),
        client("POST", "/v1/tasks/cats", json={"inputs": [f"data:image/png;base64,{text}"]}),
        client("POST", "/v1/tasks/cats", content=data, headers={"content-type": "image/png"}),
        client("POST", "/v1/tasks/cats", files={"image": ("../../etc/passwd", data)}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "task": "cats",
            "results": [[{"label": "dog", "score": pytest.approx(0.9526, abs=1e-4)}]],
        }
    many = client("POST", "/v1/tasks/cats", files=[("image", data), ("image", data)])
    assert len(many.json()["results"]) == 2


def test_a_graph_answers_in_one_request(client: Any) -> None:
    answer = client("POST", "/v1/tasks/look", content=png(), headers={"content-type": "image/png"})
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    assert [box["label"] for box in result["boxes"]] == ["LABEL_0", "LABEL_1"]
    assert [labels[0]["label"] for labels in result["kinds"]] == ["LABEL_1"] * 2


def test_tasks_are_listed(client: Any) -> None:
    listed = client("GET", "/v1/tasks").json()["tasks"]
    assert [(task["name"], task["task"], task["takes"]) for task in listed] == [
        ("cats", "image-classification", "image"),
        ("look", "graph", "image"),
        ("raw", "custom", "json"),
    ]
    assert client("GET", "/v1/tasks/cats").json() == listed[0]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"json": {"inputs": "/etc/passwd"}}, 400, "paths and addresses are not read"),
        ({"json": {"inputs": "http://example.com/a.png"}}, 400, "addresses are not read"),
        ({"json": {"inputs": base64.b64encode(b"no").decode()}}, 400, "not an image"),
        ({"json": {"inputs": 7}}, 400, "got int"),
        ({"json": {"inputs": []}}, 400, "0 inputs"),
        ({"json": {"inputs": ["x"] * 257}}, 400, "257 inputs"),
        ({"json": {"input": "x"}}, 400, "got the keys"),
        ({"json": [1]}, 400, "no JSON object but list"),
        ({"content": b"{"}, 400, "not JSON"),
        ({"content": b"[" * 100_000}, 400, "not JSON"),
        ({"content": b"x", "headers": {"content-type": "image/png"}}, 400, "not an image"),
        ({"data": {"a": "b"}, "headers": {"content-type": "multipart/form-data"}}, 400, "form"),
    ],
)
def test_bad_bodies(client: Any, body: dict[str, Any], status: int, words: str) -> None:
    answer = client("POST", "/v1/tasks/cats", **body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert "Traceback" not in answer.text


def test_a_small_file_of_many_pixels(client: Any) -> None:
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    headers = {"content-type": "image/png"}
    answer = client("POST", "/v1/tasks/cats", content=file.getvalue(), headers=headers)
    assert answer.status_code == 400
    assert client("GET", "/v1/tasks").status_code == 200


def test_unknown_tasks(client: Any) -> None:
    answer = client("POST", "/v1/tasks/cat", json={"inputs": "x"})
    assert answer.status_code == 404
    assert "did you mean 'cats'" in answer.json()["error"]
    for name in ("cats", "absent"):
        body = {"model": name, "input": "x"}
        assert client("POST", "/v1/embeddings", json=body).status_code == 404


def test_rows_share_batches(engines: dict[str, colonnade.Engine]) -> None:
    models = EngineModels(engines)
    service = service_of(models)
    items = [{"x": np.full(FEATURES, i, np.float32)} for i in range(6)]
    found = asyncio.run(service.answer("raw", items))
    assert models.batches == [4, 2]
    expected = colonnade.pipeline("custom", engines["tiny"])(items)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours["y"], theirs["y"], rtol=1e-5)
    service.close()


def test_a_reloaded_model_is_bound_again(
    engines: dict[str, colonnade.Engine], tmp_path: Path
) -> None:
    models = EngineModels(engines)
    service = service_of(models)
    item = {"x": np.zeros(FEATURES, np.float32)}
    (before,) = asyncio.run(service.answer("raw", [item]))
    other = write_tiny_model(tmp_path / "other.onnx", bias=7.0)
    models.engines["tiny"] = colonnade.compile(other, threads=1)
    (after,) = asyncio.run(service.answer("raw", [item]))
    np.testing.assert_allclose(after["y"] - before["y"], 6.75)
    service.close()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "a"}, "expected `task` and `model`, or `steps`"),
        ({"name": "a", "task": "ner"}, "no `model`"),
        ({"name": "a", "task": "nerr", "model": "m"}, "did you mean 'ner'"),
        ({"name": "a", "task": "ner", "model": "m", "options": {"x": 1}}, "unknown option 'x'"),
        ({"name": "a", "steps": {"b": {"from": "input"}}}, "`task:` and `model:`, or `function:`"),
        ({"name": "a", "steps": {"b": {"function": "cut", "from": "input"}}}, "function 'cut'"),
        ({"name": "a", "steps": {"b": {"function": "crop"}}}, "`from:` or `each:`"),
        ({"name": "a", "steps": {"b": 7}}, "expected keys and values"),
        ({"task": "ner"}, "keys and values with a name"),
    ],
)
def test_bad_configurations(entry: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        service_of(EngineModels({}), [entry])
    assert message in str(error.value)


def test_clients_of_deepsparse(engines: dict[str, colonnade.Engine]) -> None:
    """A custom path, files, and a body that the task cannot take."""
    entry = {
        "task": "image_classification",
        "model": "classes.onnx",
        "name": "classes",
        "route": "/look/here",
        "kwargs": {"top_k": 1},
    }
    found = read_deepsparse({"endpoints": [entry]}, Path("server.yaml"))
    service = TaskService([e.task for e in found.endpoints], EngineModels(engines), lambda _: None)
    routes = deepsparse_routes(service, found.by_path, Exchange(read_body, wait_for))

    async def go() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://test/v2/models") as http:
            files = {"request": png()}
            return [
                await http.post("/classes/infer/from_files", files=files),
                await http.post("/look/here/infer/from_files", files=files),
                await http.post("/classes/infer", json={"images": ["/etc/passwd"]}),
                await http.post("/clases/infer", json={}),
            ]

    one, two, refused, unknown = asyncio.run(go())
    service.close()
    assert one.json() == two.json()
    assert one.json()["labels"] == [["LABEL_1"]]
    assert (refused.status_code, unknown.status_code) == (400, 404)
    assert "takes files" in refused.json()["error"]
    assert "did you mean 'classes'" in unknown.json()["error"]


def test_items_and_results() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(np.array([[16384, 0], [-32768, -32768]], "<i2").tobytes())
    np.testing.assert_allclose(read_wave(file.getvalue()), [0.25, -1])
    with pytest.raises(InputError, match="not a WAV file"):
        read_wave(b"RIFF")
    assert items_of_json("text", ["a", {"text": "b", "text_pair": "c"}]) == ["a", ("b", "c")]
    (samples,) = items_of_json("audio", {"samples": [0.5, 1]})
    np.testing.assert_array_equal(samples, [0.5, 1])
    for kind, value in (("text", 7), ("pair", 7), ("image", 7), ("audio", {"samples": ["a"]})):
        with pytest.raises(InputError):
            items_of_json(kind, value)
    assert json.dumps(plain({"a": (np.float32(1), np.arange(2))})) == '{"a": [1.0, [0, 1]]}'


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server on loopback with an encoder."""
    pytest.importorskip("transformers", reason="transformers makes the model")
    from tiny_encoder import write_encoder

    folder = tmp_path_factory.mktemp("encoder")
    write_encoder(folder, "plain")
    models = EngineModels({"encoder": colonnade.compile(folder / "model.onnx", threads=1)})
    spec = TaskSpec("mini", "embeddings", "encoder")
    service = TaskService([spec], models, lambda _: folder)
    app = Starlette(routes=task_routes(service, Exchange(read_body, wait_for)))
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=server.run, args=([socket],))
    thread.start()
    yield f"http://127.0.0.1:{socket.getsockname()[1]}/v1", folder
    server.should_exit = True
    thread.join(WAIT_S)
    service.close()
    assert not thread.is_alive()


@pytest.mark.parametrize("form", ["base64", "float", None])
def test_the_openai_client(address: tuple[str, Path], form: Any) -> None:
    texts = ["the film was great", "sparse"]
    expected = colonnade.pipeline("embeddings", address[1], threads=1)(texts)
    options = {} if form is None else {"encoding_format": form}
    with openai.OpenAI(base_url=address[0], api_key="none", timeout=WAIT_S) as client:
        assert [model.id for model in client.models.list()] == ["mini"]
        assert client.models.retrieve("mini").id == "mini"
        made = client.embeddings.create(model="mini", input=texts, **options)
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="maxi", input="x")
        with pytest.raises(openai.BadRequestError, match="a text is empty"):
            client.embeddings.create(model="mini", input="")
        with pytest.raises(openai.BadRequestError, match="tokens are not taken"):
            client.embeddings.create(model="mini", input=[1, 2])
    assert [entry.index for entry in made.data] == [0, 1]
    for entry, own in zip(made.data, expected, strict=True):
        vector = entry.embedding
        if isinstance(vector, str):  # asked for in so many words, the client leaves it as it is
            vector = np.frombuffer(base64.b64decode(vector), "<f4")
        np.testing.assert_allclose(vector, own.vector, atol=1e-5)
    assert made.usage.prompt_tokens == made.usage.total_tokens == sum(e.tokens for e in expected)
