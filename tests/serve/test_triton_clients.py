"""Triton's clients against a real server: HTTP and gRPC, JSON and binary, sync and asyncio."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException

import colonnade
from colonnade.serve.config import ModelConfig, ServerConfig
from running_server import Running, running
from tiny_model import FEATURES, write_tiny_model

CLIENTS = {"http": http_client, "grpc": grpc_client}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Running]:
    with running(ServerConfig(models=[ModelConfig(name="tiny", path=model)])) as found:
        yield found


@pytest.fixture(params=CLIENTS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(server: Running, protocol: str) -> Iterator[Any]:
    made = CLIENTS[protocol].InferenceServerClient(getattr(server, protocol))
    yield made
    made.close()


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, FEATURES)).astype(np.float32)


def expected(model: Path, x: np.ndarray) -> np.ndarray:
    return np.asarray(colonnade.compile(model, threads=1).run({"x": x})["y"])


def make_input(module: Any, x: np.ndarray, **options: Any) -> Any:
    made = module.InferInput("x", list(x.shape), "FP32")
    made.set_data_from_numpy(x, **options)
    return made


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    about = client.get_server_metadata()
    assert "colonnade" in str(about)
    of_model = str(client.get_model_metadata("tiny"))
    assert "FP32" in of_model
    assert "colonnade" in of_model
    assert "TYPE_FP32" in str(client.get_model_config("tiny")) or "11" in str(
        client.get_model_config("tiny")
    )


def test_a_model_that_is_not_there(client: Any, protocol: str) -> None:
    with pytest.raises(InferenceServerException, match="unknown model 'other'"):
        client.get_model_metadata("other")
    x = make_input(CLIENTS[protocol], rows(1))
    with pytest.raises(InferenceServerException, match="unknown model 'other'"):
        client.infer("other", [x])
    with pytest.raises(InferenceServerException, match="no version '7'"):
        client.infer("tiny", [x], model_version="7")


def test_answers_are_the_engines(client: Any, protocol: str, model: Path) -> None:
    module = CLIENTS[protocol]
    for count in (1, 3, 8):
        x = rows(count, seed=count)
        answer = client.infer("tiny", [make_input(module, x)], request_id=f"r{count}")
        np.testing.assert_array_equal(answer.as_numpy("y"), expected(model, x))
        found = answer.get_response()
        assert (found["id"] if protocol == "http" else found.id) == f"r{count}"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_json_and_binary_tensors_both_ways(
    server: Running, model: Path, binary_in: bool, binary_out: bool
) -> None:
    x = rows(2)
    client = http_client.InferenceServerClient(server.http)
    answer = client.infer(
        "tiny",
        [make_input(http_client, x, binary_data=binary_in)],
        outputs=[http_client.InferRequestedOutput("y", binary_data=binary_out)],
    )
    np.testing.assert_array_equal(answer.as_numpy("y"), expected(model, x))
    client.close()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_packed_bodies(server: Running, model: Path, algorithm: str) -> None:
    x = rows(4)
    client = http_client.InferenceServerClient(server.http)
    answer = client.infer(
        "tiny", [make_input(http_client, x)], request_compression_algorithm=algorithm
    )
    np.testing.assert_array_equal(answer.as_numpy("y"), expected(model, x))
    client.close()


def test_what_does_not_fit_is_refused_and_the_next_request_answered(
    client: Any, protocol: str, model: Path
) -> None:
    module = CLIENTS[protocol]
    wrong_name = module.InferInput("z", [1, FEATURES], "FP32")
    wrong_name.set_data_from_numpy(rows(1))
    wrong_type = module.InferInput("x", [1, FEATURES], "FP64")
    wrong_type.set_data_from_numpy(rows(1).astype(np.float64))
    wrong_shape = make_input(module, np.zeros((1, FEATURES + 1), np.float32))
    for asked, reason in ((wrong_name, "x"), (wrong_type, "FP64|float64"), (wrong_shape, "shape")):
        with pytest.raises(InferenceServerException, match=reason):
            client.infer("tiny", [asked])
    with pytest.raises(InferenceServerException, match="output"):
        client.infer(
            "tiny", [make_input(module, rows(1))], outputs=[module.InferRequestedOutput("w")]
        )
    answer = client.infer("tiny", [make_input(module, rows(1))])
    np.testing.assert_array_equal(answer.as_numpy("y"), expected(model, rows(1)))


def test_statistics_count_what_was_asked(client: Any, protocol: str) -> None:
    module = CLIENTS[protocol]

    def count() -> int:
        if protocol == "http":
            [found] = client.get_inference_statistics("tiny")["model_stats"]
            return int(found["inference_count"])
        [entry] = client.get_inference_statistics("tiny").model_stats
        return int(entry.inference_count)

    before = count()
    client.infer("tiny", [make_input(module, rows(3))])
    assert count() == before + 3


def test_the_repository_index(client: Any, protocol: str) -> None:
    found = client.get_model_repository_index()
    entry = found[0] if protocol == "http" else found.models[0]
    name, state = (
        (entry["name"], entry["state"]) if protocol == "http" else (entry.name, entry.state)
    )
    assert (name, state) == ("tiny", "READY")


def test_asyncio_clients(server: Running, model: Path) -> None:
    import asyncio

    async def ask(module: Any, address: str) -> np.ndarray:
        client = module.InferenceServerClient(address)
        try:
            inputs = [make_input(module, rows(2))]
            answers = await asyncio.gather(*(client.infer("tiny", inputs) for _ in range(10)))
            for answer in answers[1:]:
                np.testing.assert_array_equal(answer.as_numpy("y"), answers[0].as_numpy("y"))
            return np.asarray(answers[0].as_numpy("y"))
        finally:
            await client.close()

    for module, address in ((http_aio, server.http), (grpc_aio, server.grpc)):
        got = asyncio.run(ask(module, address))
        np.testing.assert_array_equal(got, expected(model, rows(2)))


def test_a_stream_answers_in_order_and_survives_a_bad_request(server: Running, model: Path) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client = grpc_client.InferenceServerClient(server.grpc)
    client.start_stream(lambda result, error: answers.put((result, error)))
    for index in range(5):
        name = "other" if index == 2 else "tiny"
        client.async_stream_infer(
            name, [make_input(grpc_client, rows(1, index))], request_id=str(index)
        )
    found = [answers.get(timeout=30) for _ in range(5)]
    client.stop_stream()
    client.close()
    for index, (result, error) in enumerate(found):
        if index == 2:
            assert "unknown model" in str(error)
            continue
        assert error is None
        assert result.get_response().id == str(index)
        np.testing.assert_array_equal(result.as_numpy("y"), expected(model, rows(1, index)))


def test_grpc_health_and_reflection(server: Running) -> None:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "inference.GRPCInferenceService", "tiny"):
            found = health.Check(health_pb2.HealthCheckRequest(service=name))
            assert found.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError, match="unknown service"):
            health.Check(health_pb2.HealthCheckRequest(service="other"))
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(
                file_containing_symbol="inference.GRPCInferenceService"
            ),
        ]
        listed, described = list(stub.ServerReflectionInfo(iter(asked)))
        names = [service.name for service in listed.list_services_response.service]
        assert "inference.GRPCInferenceService" in names
        assert described.file_descriptor_response.file_descriptor_proto


def test_metrics_name_the_model(server: Running) -> None:
    import httpx

    text = httpx.get(f"http://{server.http}/metrics").text
    assert 'nv_inference_request_success_total{model="tiny",version="1"}' in text
    assert "process_resident_memory_bytes" in text
