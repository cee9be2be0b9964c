"""POST v2/models/{model}/infer: the hot path."""

from __future__ import annotations

import asyncio

from colonnade.serve.http.app import Exchange, Route
from colonnade.serve.http.codec import decode_infer, encode_answer
from colonnade.serve.http.exchange import (
    BINARY,
    JSON,
    header,
    read_body,
    run_while_connected,
    send,
)
from colonnade.serve.refusal import Kind, Refusal
from colonnade.serve.repository import Repository

LENGTH = b"inference-header-content-length"


def routes(repository: Repository) -> list[Route]:
    """Of this repository."""

    async def infer(exchange: Exchange) -> None:
        body = await read_body(exchange.scope, exchange.receive, exchange.limits)
        now = asyncio.get_running_loop().time()
        request, binary, binary_default = decode_infer(
            body, _json_length(exchange), now, exchange.limits.tensors
        )
        request.model = exchange.names["model"]
        request.version = exchange.names.get("version", "")
        response = await run_while_connected(repository.infer(request), exchange.receive)
        text, length = encode_answer(response, binary, binary_default)
        if length is None:
            await send(exchange.send, 200, text, JSON)
        else:
            await send(exchange.send, 200, text, BINARY, (LENGTH, str(length).encode()))

    return [
        Route("POST", "/v2/models/{model}/infer", infer),
        Route("POST", "/v2/models/{model}/versions/{version}/infer", infer),
    ]


def _json_length(exchange: Exchange) -> int | None:
    value = header(exchange.scope, LENGTH)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 12:
        raise Refusal(Kind.INVALID, "inference-header-content-length is not a number of bytes")
    return int(value)
