"""POST v2/models/{model}/infer: the hot path."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from colonnade.serve.http.app import Exchange, Route
from colonnade.serve.http.codec import decode_infer, encode_answer
from colonnade.serve.http.exchange import (
    BINARY,
    JSON,
    Header,
    header,
    read_body,
    run_while_connected,
    send,
)
from colonnade.serve.http.operation import BINARY_MEDIA, Operation
from colonnade.serve.http.schema import InferAnswer, InferBody
from colonnade.serve.protocol import InferResponse
from colonnade.serve.refusal import Kind, Refusal, refusal_of
from colonnade.serve.regions import Regions
from colonnade.serve.repository import Repository
from colonnade.serve.tracing import Tracing

LENGTH = b"inference-header-content-length"
INFER = Operation(
    "Run a model; with the header inference-header-content-length the body is that much JSON, then "
    "raw tensors, and so is the answer",
    "inference",
    InferAnswer,
    (BINARY_MEDIA,),
    body=InferBody,
    body_media=(BINARY_MEDIA,),
    errors=(404, 409, 429, 504),
)


def routes(repository: Repository, regions: Regions) -> list[Route]:
    """Of this repository."""

    async def infer(exchange: Exchange) -> None:
        body = await read_body(exchange.scope, exchange.receive, exchange.limits)
        now = asyncio.get_running_loop().time()
        request, forms = decode_infer(
            body, _json_length(exchange), now, exchange.limits.tensors, regions
        )
        request.model = exchange.names["model"]
        request.version = exchange.names.get("version", "")
        work = run_while_connected(repository.infer(request), exchange.scope)
        headers: tuple[Header, ...] = ()
        if repository.tracing is None:
            response = await work
        else:
            response, headers = await _traced(work, request.model, exchange, repository.tracing)
        text, length = encode_answer(response, forms, regions)
        if length is None:
            await send(exchange.send, 200, text, JSON, *headers)
        else:
            await send(exchange.send, 200, text, BINARY, (LENGTH, str(length).encode()), *headers)

    return [
        Route("POST", "/v2/models/{model}/infer", infer, about=INFER),
        Route("POST", "/v2/models/{model}/versions/{version}/infer", infer, about=INFER),
    ]


async def _traced(
    work: Coroutine[Any, Any, InferResponse], model: str, exchange: Exchange, tracing: Tracing
) -> tuple[InferResponse, tuple[Header, ...]]:
    """The response, and the header that names the span of this request."""
    given = header(exchange.scope, b"traceparent")
    trace = tracing.start("infer", model, None if given is None else given.decode("latin-1"))
    status = 499  # the client went away
    try:
        response = await work
        status = 200
    except Exception as error:
        status = refusal_of(error).kind.http_status
        raise
    finally:
        trace.end(status)
    if response.timing is not None:
        trace.add_timing(response.timing)
    return response, ((b"traceparent", trace.traceparent.encode()),)


def _json_length(exchange: Exchange) -> int | None:
    return json_length(header(exchange.scope, LENGTH))


def json_length(value: bytes | None) -> int | None:
    """What the header says."""
    if value is None:
        return None
    if not value.isdigit() or len(value) > 12:
        raise Refusal(Kind.INVALID, "inference-header-content-length is not a number of bytes")
    return int(value)
