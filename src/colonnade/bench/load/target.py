"""The server under test: its address, its model's inputs, and requests in bytes."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import struct
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from colonnade.bench.load.pool import Connect
from colonnade.bench.peers import InputSpec
from colonnade.errors import InputError, RunError

Encoding = Literal["binary", "json"]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(bool),
    **{f"UINT{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
"""Element types of the Open Inference Protocol."""

METADATA_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Server:
    """Where it listens. `base`: a path in front of every route, mostly empty."""

    host: str
    port: int
    is_tls: bool = False
    base: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: str | None = None

    @property
    def connect(self) -> Connect:
        """Opens a connection on the running loop."""
        context = self._tls()

        async def open_connection(protocol: Any) -> object:
            loop = asyncio.get_running_loop()
            return await loop.create_connection(protocol, self.host, self.port, ssl=context)

        return open_connection

    def ask(self, method: str, path: str) -> Any:
        """One answer as JSON. Raises RunError when there is none, or it is not a 200."""
        where = f"{method} {path} at {self.host}:{self.port}"
        timeout = METADATA_TIMEOUT_S
        client = (
            http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self._tls())
            if self.is_tls
            else http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        )
        try:
            body = b"{}" if method == "POST" else None
            client.request(method, self.base + path, body, dict(self.headers))
            answer = client.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise RunError(f"{where}: no answer ({error}); is the server running?") from error
        finally:
            client.close()
        if answer.status != http.client.OK:
            raise RunError(f"{where}: status {answer.status}, expected 200: {text[:200]!r}")
        try:
            return json.loads(text)
        except ValueError as error:
            raise RunError(f"{where}: the answer is not JSON: {error}") from error

    def request(self, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """A whole POST request."""
        lines = [
            f"POST {self.base}{path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in {**self.headers, **headers}.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def _tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.ca_file) if self.is_tls else None


def parse_url(
    url: str, headers: Mapping[str, str] | None = None, ca_file: str | None = None
) -> tuple[Server, str | None]:
    """The server of an address, and the model if the path names one.

    >>> server, model = parse_url("http://localhost:8000/v2/models/minilm")
    >>> server.host, server.port, server.base, model
    ('localhost', 8000, '', 'minilm')
    """
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError as error:
        raise InputError(f"{url!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{url!r} is no address; expected http://HOST:PORT or https://HOST:PORT")
    base, marker, rest = parts.path.partition("/v2/models/")
    model = urllib.parse.unquote(rest.split("/")[0]) if marker else None
    is_tls = parts.scheme == "https"
    server = Server(
        parts.hostname, port or (443 if is_tls else 8000), is_tls, base.rstrip("/"),
        dict(headers or {}), ca_file,
    )  # fmt: skip
    return server, model or None


def choose_model(server: Server, name: str | None) -> str:
    """The model named, or the server's only one that is ready."""
    if name:
        return name
    found = server.ask("POST", "/v2/repository/index")
    ready = [entry["name"] for entry in found if entry.get("state", "READY") == "READY"]
    names = list(dict.fromkeys(ready))
    if len(names) != 1:
        raise InputError(
            f"name the model with --model; the server has {', '.join(names) or 'none'}"
        )
    return str(names[0])


def read_inputs(server: Server, model: str) -> list[InputSpec]:
    """The inputs that the server declares."""
    metadata = server.ask("GET", _model_path(model))
    return [_to_spec(entry) for entry in metadata.get("inputs", [])]


def _to_spec(entry: Mapping[str, Any]) -> InputSpec:
    dtype = DTYPES.get(entry["datatype"])
    if dtype is None:
        raise InputError(
            f"input {entry['name']!r}: no values of type {entry['datatype']}; use --body"
        )
    shape = tuple(None if int(size) < 0 else int(size) for size in entry["shape"])
    return InputSpec(entry["name"], dtype, shape)


def infer_request(
    server: Server, model: str, arrays: Mapping[str, np.ndarray], encoding: Encoding
) -> bytes:
    """One inference in bytes; binary tensors both ways, or JSON both ways."""
    path = f"{_model_path(model)}/infer"
    if encoding == "json":
        inputs = [_describe(name, array, _as_json(array)) for name, array in arrays.items()]
        body = json.dumps({"inputs": inputs}).encode()
        return server.request(path, body, {"Content-Type": "application/json"})
    blobs = {name: _as_bytes(array) for name, array in arrays.items()}
    inputs = [
        _describe(name, array, {"parameters": {"binary_data_size": len(blobs[name])}})
        for name, array in arrays.items()
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return server.request(path, b"".join([head, *blobs.values()]), headers)


def _model_path(model: str) -> str:
    return f"/v2/models/{urllib.parse.quote(model, safe='')}"


def _describe(name: str, array: np.ndarray, more: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {dtype: datatype for datatype, dtype in DTYPES.items()}
    return {"name": name, "shape": list(array.shape), "datatype": kinds[array.dtype], **more}


def _as_json(array: np.ndarray) -> dict[str, Any]:
    return {"data": array.reshape(-1).tolist()}


def _as_bytes(array: np.ndarray) -> bytes:
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    texts = [str(value).encode() for value in array.reshape(-1)]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
