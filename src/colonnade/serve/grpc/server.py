"""A gRPC server in front of a repository: inference, health and reflection."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from colonnade.serve.auth import Authorize, allow_everybody
from colonnade.serve.grpc.messages import SERVICE, messages, methods, pool
from colonnade.serve.grpc.service import CODES, Service
from colonnade.serve.refusal import refusal_of
from colonnade.serve.regions import NoRegions, Regions
from colonnade.serve.repository import Repository

OPEN = frozenset({"ServerLive"})
"""Methods that need no key."""


async def start_grpc_server(
    repository: Repository,
    address: str,
    *,
    regions: Regions | None = None,
    authorize: Authorize = allow_everybody,
    message_bytes_max: int = 64 << 20,
    certificate: tuple[Path, Path] | None = None,
    actions: Mapping[str, Any] | None = None,
) -> tuple[grpc.aio.Server, int]:
    """Listen at `address` (HOST:PORT; port 0 takes a free one). Returns the server and its port.

    `certificate`: (chain, key) in PEM. `actions`: more methods by their protocol name (loading of
    models, shared memory), each an async function of (message, context). Stop it with
    `server.stop(grace_s)`.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", message_bytes_max),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
    )
    service = Service(repository, regions or NoRegions())
    handlers = _handlers(service, authorize, actions or {})
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(_Health(repository), server)
    names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server, pool=_Pools())
    port = _listen(server, address, certificate)
    await server.start()
    return server, port


def _listen(server: grpc.aio.Server, address: str, certificate: tuple[Path, Path] | None) -> int:
    if certificate is None:
        return int(server.add_insecure_port(address))
    chain, key = (path.read_bytes() for path in certificate)
    return int(server.add_secure_port(address, grpc.ssl_server_credentials([(key, chain)])))


def _handlers(
    service: Service, authorize: Authorize, actions: Mapping[str, Any]
) -> dict[str, grpc.RpcMethodHandler]:
    made = {}
    for method in methods():
        own = getattr(service, _snake_case(method.name), service.unsupported)
        run = actions.get(method.name, own)
        read = messages()[method.input_type.name].FromString
        write = messages()[method.output_type.name].SerializeToString
        check = allow_everybody if method.name in OPEN else authorize
        if method.name == "ModelStreamInfer":
            made[method.name] = grpc.stream_stream_rpc_method_handler(
                _guard_stream(run, check), read, write
            )
        else:
            made[method.name] = grpc.unary_unary_rpc_method_handler(_guard(run, check), read, write)
    return made


def _snake_case(name: str) -> str:
    """
    >>> _snake_case("ModelStreamInfer")
    'model_stream_infer'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _guard(run: Any, authorize: Authorize) -> Any:
    async def call(message: Any, context: Any) -> Any:
        try:
            authorize(_authorization(context))
            return await run(message, context)
        except Exception as error:  # noqa: BLE001  # the client gets its status
            await _abort(context, error)

    return call


def _guard_stream(run: Any, authorize: Authorize) -> Any:
    async def call(stream: Any, context: Any) -> AsyncIterator[Any]:
        try:
            authorize(_authorization(context))
            async for answer in run(stream, context):
                yield answer
        except Exception as error:  # noqa: BLE001  # the client gets its status
            await _abort(context, error)

    return call


def _authorization(context: Any) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return str(value)
    return None


async def _abort(context: Any, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    refusal = refusal_of(error)
    if refusal.retry_after_s is not None:
        pause = (("retry-after", str(max(1, round(refusal.retry_after_s)))),)
        context.set_trailing_metadata(pause)
    await context.abort(CODES[refusal.kind], refusal.reason)


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1: the server as a whole, the inference service, and each model by name."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Whether it serves."""
        name = request.service
        if name in ("", SERVICE):
            ready = self._repository.is_ready
        elif name in self._repository.models():
            entry = self._repository.models()[name]
            ready = any(version.served is not None for version in entry.versions.values())
        else:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {name!r}")
        status = health_pb2.HealthCheckResponse
        return status(status=status.SERVING if ready else status.NOT_SERVING)


class _Pools:
    """For reflection: the inference protocol's pool, then the default one."""

    def __getattr__(self, name: str) -> Any:
        from google.protobuf import descriptor_pool

        def find(*arguments: Any) -> Any:
            try:
                return getattr(pool(), name)(*arguments)
            except KeyError:
                return getattr(descriptor_pool.Default(), name)(*arguments)

        return find
