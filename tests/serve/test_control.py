"""Loading by clients, shared memory, sequences and what this server has not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException, shared_memory

from colonnade.serve.config import ModelConfig, ServerConfig
from running_server import Running, running
from state_model import write_state_model
from tiny_model import FEATURES, OUTPUTS, write_tiny_model

CLIENTS = {"http": http_client, "grpc": grpc_client}
STATES = {"total_in": "total_out"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("models")
    tiny = ModelConfig(name="tiny", path=write_tiny_model(folder / "tiny.onnx"))
    total = ModelConfig(
        name="total", path=write_state_model(folder / "total.onnx"), states=STATES, sequences_max=2
    )
    with running(ServerConfig(models=[tiny, total], model_control=True)) as found:
        yield found


@pytest.fixture(params=CLIENTS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(server: Running, protocol: str) -> Iterator[Any]:
    made = CLIENTS[protocol].InferenceServerClient(getattr(server, protocol))
    yield made
    made.close()


def make_input(module: Any, name: str, x: np.ndarray) -> Any:
    made = module.InferInput(name, list(x.shape), "FP32")
    made.set_data_from_numpy(x)
    return made


def test_unload_and_load(client: Any, protocol: str) -> None:
    x = make_input(CLIENTS[protocol], "x", np.ones((1, FEATURES), np.float32))
    client.unload_model("tiny")
    assert not client.is_model_ready("tiny")
    with pytest.raises(InferenceServerException, match="not ready"):
        client.infer("tiny", [x])
    client.load_model("tiny")
    assert client.is_model_ready("tiny")
    client.infer("tiny", [x])
    with pytest.raises(InferenceServerException, match="unknown model"):
        client.load_model("other")


def test_clients_may_not_load_where_it_is_not_allowed(tmp_path: Path) -> None:
    tiny = ModelConfig(name="tiny", path=write_tiny_model(tmp_path / "tiny.onnx"))
    with running(ServerConfig(models=[tiny])) as found:
        for name, module in CLIENTS.items():
            client = module.InferenceServerClient(getattr(found, name))
            with pytest.raises(InferenceServerException, match="model_control"):
                client.unload_model("tiny")
            client.close()


def test_tensors_in_shared_memory(client: Any, protocol: str) -> None:
    module = CLIENTS[protocol]
    x = np.random.default_rng(0).standard_normal((2, FEATURES)).astype(np.float32)
    out_bytes = 2 * OUTPUTS * 4
    given = shared_memory.create_shared_memory_region("given", f"/{protocol}_in", x.nbytes)
    wanted = shared_memory.create_shared_memory_region("wanted", f"/{protocol}_out", out_bytes)
    try:
        shared_memory.set_shared_memory_region(given, [x])
        client.register_system_shared_memory("given", f"/{protocol}_in", x.nbytes)
        client.register_system_shared_memory("wanted", f"/{protocol}_out", out_bytes)
        assert "given" in str(client.get_system_shared_memory_status())
        asked = module.InferInput("x", list(x.shape), "FP32")
        asked.set_shared_memory("given", x.nbytes)
        output = module.InferRequestedOutput("y")
        output.set_shared_memory("wanted", out_bytes)
        answer = client.infer("tiny", [asked], outputs=[output])
        assert "wanted" in str(answer.get_output("y"))
        made = shared_memory.get_contents_as_numpy(wanted, np.float32, [2, OUTPUTS])
        plain = client.infer("tiny", [make_input(module, "x", x)])
        np.testing.assert_array_equal(made, plain.as_numpy("y"))
        asked.set_shared_memory("given", x.nbytes + 4)
        with pytest.raises(InferenceServerException, match="given"):
            client.infer("tiny", [asked])
    finally:
        client.unregister_system_shared_memory()
        shared_memory.destroy_shared_memory_region(given)
        shared_memory.destroy_shared_memory_region(wanted)
    with pytest.raises(InferenceServerException, match="unknown shared memory"):
        client.infer("tiny", [asked])


@pytest.mark.parametrize("key", ["/../etc/passwd", "../../etc/passwd", "/etc/passwd", "a/b", ".."])
def test_shared_memory_is_no_way_to_files(client: Any, key: str) -> None:
    with pytest.raises(InferenceServerException, match="not a path|no shared memory object"):
        client.register_system_shared_memory("bad", key, 4)
    assert "bad" not in str(client.get_system_shared_memory_status())


def test_sequences_keep_their_states_apart(client: Any, protocol: str) -> None:
    module = CLIENTS[protocol]

    def step(number: int, value: float, **options: bool) -> list[float]:
        x = make_input(module, "x", np.full((1, 2), value, np.float32))
        answer = client.infer("total", [x], sequence_id=number, **options)
        return [float(v) for v in answer.as_numpy("y")[0]]

    assert step(1, 1.0, sequence_start=True) == [1.0, 1.0]
    assert step(2, 10.0, sequence_start=True) == [10.0, 10.0]
    assert step(1, 2.0) == [3.0, 3.0]
    assert step(2, 20.0, sequence_end=True) == [30.0, 30.0]
    assert step(1, 4.0, sequence_end=True) == [7.0, 7.0]
    for number in (1, 2):
        with pytest.raises(InferenceServerException, match="not open"):
            step(number, 1.0)
    x = make_input(module, "x", np.zeros((1, 2), np.float32))
    with pytest.raises(InferenceServerException, match="sequence_id"):
        client.infer("total", [x])


def test_as_many_sequences_as_allowed(client: Any, protocol: str) -> None:
    x = make_input(CLIENTS[protocol], "x", np.zeros((1, 2), np.float32))
    for number in (11, 12):
        client.infer("total", [x], sequence_id=number, sequence_start=True)
    with pytest.raises(InferenceServerException, match="2 sequences are open"):
        client.infer("total", [x], sequence_id=13, sequence_start=True)
    for number in (11, 12):
        client.infer("total", [x], sequence_id=number, sequence_end=True)


def test_what_a_cpu_server_has_not_is_said(server: Running) -> None:
    for path in ("cudasharedmemory/status", "trace/setting", "logging"):
        answer = httpx.get(f"http://{server.http}/v2/{path}")
        assert answer.status_code == 400
        assert answer.json()["error"]
