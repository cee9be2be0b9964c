"""Reading a request and writing a response, straight on ASGI: what every route is made of."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import uuid
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from colonnade.serve.config import Limits
from colonnade.serve.refusal import Kind, Refusal

T = TypeVar("T")

Header = tuple[bytes, bytes]
JSON: Header = (b"content-type", b"application/json")
BINARY: Header = (b"content-type", b"application/octet-stream")
TEXT: Header = (b"content-type", b"text/plain; charset=utf-8")

_ENCODER = msgspec.json.Encoder()


class Disconnected(Exception):  # noqa: N818
    """The client is gone: there is nobody to answer."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a request header, by its lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


_PROCESS = uuid.uuid4().hex[:24]
_NUMBERS = itertools.count()


def request_id_of(headers: Iterable[Header]) -> str:
    """The id that a request came with; one without gets the next number of this process."""
    for name, value in headers:
        if name == b"x-request-id" and re.fullmatch(rb"[A-Za-z0-9_.\-]{1,128}", value):
            return value.decode()
    return f"{_PROCESS}{next(_NUMBERS):08x}"


async def read_body(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    """The body, unpacked; refused as soon as it is larger than it may be, or too slow."""
    _verify_declared_length(scope, limits)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        body = await _read_rest(body, receive, limits)
    elif len(body) > limits.body_bytes:
        raise _too_large(limits)
    encoding = header(scope, b"content-encoding")
    return body if encoding in (None, b"identity") else _unpack(body, encoding or b"", limits)


def _verify_declared_length(scope: Scope, limits: Limits) -> None:
    declared = header(scope, b"content-length")
    if declared is not None and int(declared) > limits.body_bytes:
        raise _too_large(limits)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(Kind.TOO_LARGE, f"the body has more than {limits.body_bytes} bytes")


async def _read_rest(first: bytes, receive: Receive, limits: Limits) -> bytes:
    parts, size = [first], len(first)
    loop = asyncio.get_running_loop()
    start = loop.time()
    while True:
        if size > limits.body_bytes:
            raise _too_large(limits)
        deadline = start + limits.body_timeout_s + size / limits.body_bytes_per_s
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + limits.body_timeout_s)):
                message = await receive()
        except TimeoutError:
            raise Refusal(Kind.TIMEOUT, "the body arrives too slowly") from None
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if not message.get("more_body", False):
            break
    if size > limits.body_bytes:
        raise _too_large(limits)
    return b"".join(parts)


def _unpack(body: bytes, encoding: bytes, limits: Limits) -> bytes:
    """gzip and deflate, never into more bytes than a body may have."""
    if encoding not in (b"gzip", b"deflate"):
        raise Refusal(Kind.UNSUPPORTED, "content-encoding: known are gzip and deflate")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding == b"gzip" else 0))
    try:
        unpacked = unpacker.decompress(body, limits.body_bytes + 1)
    except zlib.error:
        raise Refusal(Kind.INVALID, "the body is not what its content-encoding says") from None
    if len(unpacked) > limits.body_bytes:
        raise _too_large(limits)
    if not unpacker.eof or unpacker.unused_data:
        raise Refusal(Kind.INVALID, "the packed body is cut off or has bytes after its end")
    return unpacked


class Connection(Protocol):
    """What the server's connection tells about itself; `scope[CONNECTION]`."""

    on_lost: Callable[[], object] | None
    """Called when the client goes away."""
    is_lost: bool


CONNECTION = "colonnade.connection"


async def run_while_connected(work: Coroutine[Any, Any, T], scope: Scope) -> T:
    """The result of `work`; when the client goes away first, `work` is cancelled."""
    connection: Connection = scope[CONNECTION]
    if connection.is_lost:
        work.close()
        raise Disconnected
    task = asyncio.current_task()
    assert task is not None
    connection.on_lost = task.cancel
    try:
        return await work
    except asyncio.CancelledError:
        if connection.is_lost and not task.uncancel():
            raise Disconnected from None
        raise
    finally:
        connection.on_lost = None


async def send(send_: Send, status: int, body: bytes, *headers: Header) -> None:
    """A whole response."""
    length = (b"content-length", str(len(body)).encode())
    await send_({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send_({"type": "http.response.body", "body": body})


async def send_json(send_: Send, value: Any, status: int = 200) -> None:
    """A response from anything that msgspec can encode."""
    await send(send_, status, _ENCODER.encode(value), JSON)


async def send_refusal(send_: Send, refusal: Refusal, request_id: str) -> None:
    """Why there is no answer; the connection is closed where its body was not read."""
    headers, body = encode_refusal(refusal, request_id)
    await send(send_, refusal.kind.http_status, body, *headers)


def encode_refusal(refusal: Refusal, request_id: str) -> tuple[list[Header], bytes]:
    """Headers and body that tell of a refusal."""
    headers = [JSON]
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(refusal.retry_after_s))).encode()))
    if refusal.kind in (Kind.TOO_LARGE, Kind.TIMEOUT):
        headers.append((b"connection", b"close"))
    if refusal.kind is Kind.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.allow:
        headers.append((b"allow", refusal.allow.encode()))
    return headers, _ENCODER.encode({"error": refusal.reason, "request_id": request_id})


Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
