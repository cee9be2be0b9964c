"""Requests in bytes, and what the server says of its models."""

from __future__ import annotations

import json

import numpy as np
import pytest

from colonnade.bench.load.target import Server, _to_spec, infer_request, parse_url
from colonnade.errors import InputError, RunError

SERVER = Server("localhost", 8000, headers={"Authorization": "Bearer k"})


def split(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


def test_a_binary_request_has_its_tensors_behind_the_json() -> None:
    arrays = {"ids": np.array([[1, 2]], np.int64), "text": np.array(["aß", ""], object)}
    first, headers, body = split(infer_request(SERVER, "a/b", arrays, "binary"))
    assert first == "POST /v2/models/a%2Fb/infer HTTP/1.1"
    assert headers["Authorization"] == "Bearer k"
    assert int(headers["Content-Length"]) == len(body)
    length = int(headers["Inference-Header-Content-Length"])
    described = json.loads(body[:length])
    assert [entry["datatype"] for entry in described["inputs"]] == ["INT64", "BYTES"]
    assert [entry["parameters"]["binary_data_size"] for entry in described["inputs"]] == [16, 11]
    assert body[length : length + 16] == arrays["ids"].tobytes()
    assert body[length + 16 :] == b"\x03\x00\x00\x00a\xc3\x9f\x00\x00\x00\x00"


def test_a_json_request_has_its_values_in_order() -> None:
    array = np.arange(4, dtype=np.float32).reshape(2, 2)
    _, headers, body = split(infer_request(SERVER, "m", {"x": array}, "json"))
    assert "Inference-Header-Content-Length" not in headers
    assert json.loads(body)["inputs"] == [
        {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [0.0, 1.0, 2.0, 3.0]}
    ]


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:x", "http://host:99999"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        parse_url(url)


def test_an_address_may_have_a_base_and_a_model() -> None:
    server, model = parse_url("https://host/colonnade/v2/models/a%2Fb/infer")
    assert (server.is_tls, server.port, server.base, model) == (True, 443, "/colonnade", "a/b")
    assert parse_url("localhost:9000")[0].port == 9000


def test_free_dimensions_are_left_to_the_options() -> None:
    spec = _to_spec({"name": "x", "datatype": "FP32", "shape": [-1, 12]})
    assert spec.shape == (None, 12)
    assert spec.dtype == np.float32


def test_a_type_without_random_values_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"'x'.*BF16"):
        _to_spec({"name": "x", "datatype": "BF16", "shape": [1]})


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(RunError, match="is the server running"):
        Server("localhost", 9).ask("GET", "/v2")
