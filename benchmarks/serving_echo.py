"""The stacks of the server with nothing behind them: send bodies back. Arguments: the HTTP port, and
the gRPC port if that is wanted."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import grpc
import grpc.aio
import uvicorn
import uvloop

Message = MutableMapping[str, Any]


async def echo(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """The least that an ASGI application can do."""
    if scope["type"] != "http":
        return
    parts, is_more = [], True
    while is_more:
        message = await receive()
        parts.append(message.get("body", b""))
        is_more = message.get("more_body", False)
    body = b"".join(parts)
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


async def echo_call(message: bytes, context: Any) -> bytes:
    """The least that a gRPC method can do: not even messages are made."""
    del context
    return message


async def start_grpc(port: int) -> grpc.aio.Server:
    """Every method of the service echoes."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(echo_call)}
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server


async def serve(ports: list[int]) -> None:
    """Until it is killed."""
    server = await start_grpc(ports[1]) if len(ports) > 1 else None
    settings = uvicorn.Config(
        echo, port=ports[0], http="httptools", loop="none", lifespan="off", log_level="error",
        access_log=False,
    )  # fmt: skip
    await uvicorn.Server(settings).serve()
    if server is not None:
        await server.stop(0)


if __name__ == "__main__":
    uvloop.run(serve([int(port) for port in sys.argv[1:]]))
