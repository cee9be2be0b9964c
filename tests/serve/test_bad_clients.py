"""Slow, broken or hostile clients: the documented status, and the next request is answered."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from colonnade.serve.config import Limits, ModelConfig, ServerConfig
from running_server import Running, running
from tiny_model import FEATURES, write_tiny_model

LIMITS = Limits(
    body_bytes=4096, header_bytes=8192, headers=20, header_timeout_s=0.3, body_timeout_s=0.3,
    chunks=50,
)  # fmt: skip
INFER = "/v2/models/tiny/infer"
GOOD = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, FEATURES], "data": [0] * FEATURES}]}
).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")
    config = ServerConfig(models=[ModelConfig(name="tiny", path=path)], limits=LIMITS)
    with running(config) as found:
        yield found


@pytest.fixture(autouse=True)
def next_request_is_answered(server: Running) -> Iterator[None]:
    yield
    assert post(server, GOOD)[0] == 200


def post(server: Running, body: bytes, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.http, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", INFER, body, named)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def say(server: Running, *parts: bytes) -> bytes:
    """Send and read until the server closes: it has to."""
    with socket.create_connection(("127.0.0.1", server.ports.http), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionResetError:
            pass
        return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


HEAD = b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "parts",
    [(), (b"POST",), (HEAD,), (HEAD + b"a: ",)],
    ids=["nothing", "method", "half", "header"],
)
def test_headers_that_never_end_are_408(server: Running, parts: tuple[bytes, ...]) -> None:
    assert status(say(server, *parts)) == 408


@pytest.mark.parametrize(
    ("expected", "head"),
    [
        (431, HEAD + b"a: " + b"b" * 100_000),
        (431, HEAD + b"".join(b"a%d: b\r\n" % i for i in range(300)) + b"\r\n"),
        (400, HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
        (400, HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n"),
        (400, HEAD + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
        (400, HEAD + b"content-length: 99999999999999999999\r\n\r\n"),
        (400, b"GET /\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ],
    ids="huge many both two chunk length 0.9 tls".split(),
)
def test_broken_framing_is_refused_and_closed(server: Running, expected: int, head: bytes) -> None:
    assert status(say(server, head)) == expected


def test_a_body_that_never_comes_is_408(server: Running) -> None:
    head = HEAD + b"connection: close\r\ncontent-length: 100\r\n\r\n"
    assert status(say(server, head, b"{")) == 408


def test_too_many_chunks_are_413(server: Running) -> None:
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    assert status(say(server, head, b"1\r\n \r\n" * 60)) == 413


def test_ten_thousand_pipelined_requests_end_the_connection(server: Running) -> None:
    request = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    assert say(server, request * 10_000).count(b"HTTP/1.1 200") < 1000


def test_the_body_limit_is_exact(server: Running) -> None:
    at_limit = GOOD + b" " * (LIMITS.body_bytes - len(GOOD))
    assert post(server, at_limit)[0] == 200
    assert post(server, at_limit + b" ")[0] == 413


def test_a_packed_body_is_limited_by_what_it_unpacks_to(server: Running) -> None:
    assert post(server, gzip.compress(GOOD), content_encoding="gzip")[0] == 200
    assert post(server, gzip.compress(b" " * (1 << 20)), content_encoding="gzip")[0] == 413
    assert post(server, b"no gzip", content_encoding="gzip")[0] == 400


def tensor(**changes: object) -> bytes:
    plain = {"name": "x", "datatype": "FP32", "shape": [1, FEATURES], "data": [0] * FEATURES}
    return json.dumps({"inputs": [{**plain, **changes}]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 4000,
        GOOD.replace(b"0, 0", b"NaN, 0", 1),
        GOOD.replace(b"0, 0", b"1e999, 0", 1),
        GOOD.replace(b'"x"', b'"\\ud800"'),
        tensor(shape=[1 << 40, 1 << 40]),
        tensor(shape=[-1, FEATURES]),
        tensor(shape=[1, FEATURES + 1]),
        tensor(shape=[2, FEATURES]),
        tensor(datatype="FP99"),
        tensor(datatype="BF16"),
        tensor(datatype="INT64"),
        tensor(datatype="INT8", data=[300] * FEATURES),
        tensor(data=["a"] * FEATURES),
        tensor(name="y"),
        tensor(parameters={"binary_data_size": 48}),
        tensor(parameters={"binary_data_size": -1}),
        json.dumps({**json.loads(GOOD), "outputs": [{"name": "z"}]}).encode(),
        json.dumps({**json.loads(GOOD), "parameters": {"priority": 1000}}).encode(),
        json.dumps({**json.loads(GOOD), "parameters": {"timeout": -1}}).encode(),
    ],
)
def test_bodies_that_do_not_fit_are_400_with_a_reason(server: Running, body: bytes) -> None:
    code, text = post(server, body)
    assert code == 400
    assert json.loads(text)["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999", "1" * 40])
def test_a_header_length_that_lies_is_400(server: Running, length: str) -> None:
    assert post(server, GOOD, inference_header_content_length=length)[0] == 400
