"""/ping and /invocations, as SageMaker calls a container."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import colonnade
from colonnade.serve.config import ModelConfig, ServerConfig
from colonnade.serve.http.routes.sagemaker import choose
from colonnade.serve.refusal import Refusal
from constant_model import write_constant_model
from running_server import running
from tiny_model import FEATURES, write_tiny_model

CSV, NPY = "text/csv", "application/x-npy"
ROWS = np.random.default_rng(3).standard_normal((3, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[httpx.Client]:
    with running(ServerConfig(models=[ModelConfig(name="tiny", path=model)])) as found:
        with httpx.Client(base_url=f"http://{found.http}", timeout=60) as made:
            yield made


@pytest.fixture(scope="module")
def expected(model: Path) -> np.ndarray:
    return np.asarray(colonnade.compile(model, threads=1).run({"x": ROWS})["y"])


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def csv(array: np.ndarray) -> bytes:
    return "\n".join(",".join(map(repr, row)) for row in array.tolist()).encode()


def invoke(client: httpx.Client, body: bytes, form: str, accept: str = "*/*") -> httpx.Response:
    headers = {"content-type": form, "accept": accept}
    return client.post("/invocations", content=body, headers=headers)


def test_ping(client: httpx.Client) -> None:
    answer = client.get("/ping")
    assert (answer.status_code, answer.json()) == (200, {"ready": True})


def test_json_is_the_open_inference_protocol(client: httpx.Client, expected: np.ndarray) -> None:
    data = ROWS.reshape(-1).tolist()
    tensor = {"name": "x", "shape": list(ROWS.shape), "datatype": "FP32", "data": data}
    answer = client.post("/invocations", json={"inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(
        np.float32(answer.json()["outputs"][0]["data"]), expected.reshape(-1)
    )


@pytest.mark.parametrize("form", [CSV, NPY])
def test_an_array(client: httpx.Client, expected: np.ndarray, form: str) -> None:
    body = csv(ROWS) if form == CSV else npy(ROWS)
    in_json = invoke(client, body, form).json()["outputs"][0]
    np.testing.assert_array_equal(np.float32(in_json["data"]), expected.reshape(-1))
    of_file = np.load(io.BytesIO(invoke(client, body, form, NPY).content))
    np.testing.assert_array_equal(of_file, expected)
    lines = invoke(client, body, form, CSV)
    assert lines.headers["content-type"] == CSV
    table = np.array([line.split(",") for line in lines.text.splitlines()], np.float32)
    np.testing.assert_array_equal(table, expected)


@pytest.mark.parametrize(
    ("body", "form", "said"),
    [
        (b"a,b", CSV, "not CSV of numbers"),
        (b"1,2\n3", CSV, "not CSV of numbers"),
        (b"\xff", CSV, "not CSV of numbers"),
        (b"1,2", CSV, "2 values in a line"),
        (b"", CSV, "shape"),
        (b"", NPY, "not an .npy file"),
        (npy(ROWS)[:-4], NPY, "not an .npy file"),
        (npy(np.array([{}], object), allow_pickle=True), NPY, "not an .npy file"),
        (npy(np.array(["a"])), NPY, "not one array of numbers"),
        (npy(ROWS.astype(np.complex64)), NPY, "not one array of numbers"),
        (npy(ROWS[:, :3]), NPY, "shape"),
        (b"{", "application/json", "JSON"),
        (b"{}", "text/html", "known are"),
    ],
)
def test_a_wrong_body(client: httpx.Client, body: bytes, form: str, said: str) -> None:
    answer = invoke(client, body, form)
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]


def test_a_task_comes_before_its_model(tmp_path: Path) -> None:
    logits = {"logits": np.array([0.0, 3.0])}
    write_constant_model(tmp_path / "model.onnx", {"x": ("batch", 3, 8, 8)}, logits)
    file = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(file, "PNG")
    models = [ModelConfig(name="classes", path=tmp_path / "model.onnx")]
    tasks = [{"name": "cats", "task": "image-classification", "model": "classes"}]
    with running(ServerConfig(models=models, tasks=tasks)) as found:
        headers = {"content-type": "image/png"}
        url = f"http://{found.http}/invocations"
        answer = httpx.post(url, content=file.getvalue(), headers=headers, timeout=60)
        wrong = httpx.post(url, json={"input": 1}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0][0]["label"] == "LABEL_1"
    assert wrong.status_code == 400


def test_which_model_it_is_for() -> None:
    assert choose((), ("a", "b"), "b") == "b"
    assert choose(("t",), ("a", "b"), None) == "t"
    with pytest.raises(Refusal, match="set default_model"):
        choose((), ("a", "b"), None)
    with pytest.raises(Refusal, match="set default_model"):
        choose((), (), None)
    with pytest.raises(Refusal, match="is not there"):
        choose((), ("a",), "c")
