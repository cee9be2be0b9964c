"""Loading and unloading of models, shared memory, and settings that are not here."""

from __future__ import annotations

from typing import Any

import msgspec

from colonnade.serve.http.answers import Nothing, RegisterBody, SharedRegion
from colonnade.serve.http.app import Exchange, Route
from colonnade.serve.http.codec import parse_json
from colonnade.serve.http.exchange import read_body
from colonnade.serve.http.operation import JSON_MEDIA, Operation
from colonnade.serve.http.routes.models import answer
from colonnade.serve.refusal import Kind, Refusal
from colonnade.serve.repository import Repository
from colonnade.serve.shared_memory import Region, SharedMemory

_REGISTER = msgspec.json.Decoder(RegisterBody)


def routes(
    repository: Repository, memory: SharedMemory | None, *, model_control: bool
) -> list[Route]:
    """Control is refused with 403 unless the server allows it."""

    def controlled() -> None:
        if not model_control:
            raise Refusal(
                Kind.FORBIDDEN, "this server does not let clients load models (model_control)"
            )

    def regions() -> SharedMemory:
        if memory is None:
            raise Refusal(Kind.UNSUPPORTED, "this server takes no shared memory")
        return memory

    async def load(exchange: Exchange) -> None:
        controlled()
        await read_body(exchange.scope, exchange.receive, exchange.limits)
        await repository.load(exchange.names["model"])
        await answer(exchange, {})

    async def unload(exchange: Exchange) -> None:
        controlled()
        await read_body(exchange.scope, exchange.receive, exchange.limits)
        await repository.unload(exchange.names["model"])
        await answer(exchange, {})

    async def status(exchange: Exchange) -> None:
        found = regions().status(exchange.names.get("name", ""))
        await answer(exchange, [_describe(region) for region in found])

    async def register(exchange: Exchange) -> None:
        body = await read_body(exchange.scope, exchange.receive, exchange.limits)
        asked = parse_json(_REGISTER, body)
        regions().register(exchange.names["name"], asked.key, asked.offset, asked.byte_size)
        await answer(exchange, {})

    async def unregister(exchange: Exchange) -> None:
        await read_body(exchange.scope, exchange.receive, exchange.limits)
        regions().unregister(exchange.names.get("name", ""))
        await answer(exchange, {})

    async def no_device(_: Exchange) -> None:
        raise Refusal(Kind.UNSUPPORTED, "this server runs on CPUs: there is no CUDA memory")

    async def no_settings(_: Exchange) -> None:
        raise Refusal(
            Kind.UNSUPPORTED, "trace and log settings belong to the server's configuration"
        )

    shared, cuda = "/v2/systemsharedmemory", "/v2/cudasharedmemory"
    return [
        Route("POST", "/v2/repository/models/{model}/load", load, about=LOAD),
        Route("POST", "/v2/repository/models/{model}/unload", unload, about=UNLOAD),
        Route("GET", f"{shared}/status", status, about=REGIONS),
        Route("GET", f"{shared}/region/{{name}}/status", status, about=REGIONS),
        Route("POST", f"{shared}/region/{{name}}/register", register, about=REGISTER),
        Route("POST", f"{shared}/unregister", unregister, about=UNREGISTER),
        Route("POST", f"{shared}/region/{{name}}/unregister", unregister, about=UNREGISTER),
        Route("GET", f"{cuda}/status", no_device, about=NO_DEVICE),
        Route("GET", f"{cuda}/region/{{name}}/status", no_device, about=NO_DEVICE),
        Route("POST", f"{cuda}/region/{{name}}/register", no_device, about=NO_DEVICE),
        Route("POST", f"{cuda}/unregister", no_device, about=NO_DEVICE),
        Route("POST", f"{cuda}/region/{{name}}/unregister", no_device, about=NO_DEVICE),
        *(
            Route(method, path, no_settings, about=NO_SETTINGS)
            for path in ("/v2/trace/setting", "/v2/models/{model}/trace/setting", "/v2/logging")
            for method in ("GET", "POST")
        ),
    ]


LOAD = Operation(
    "Load a model, or load it again",
    "repository",
    Nothing,
    errors=(403, 409),
    body_media=(JSON_MEDIA,),
    is_body_needed=False,
)
UNLOAD = Operation(
    "Unload a model",
    "repository",
    Nothing,
    errors=(403, 409),
    body_media=(JSON_MEDIA,),
    is_body_needed=False,
)
REGIONS = Operation("The regions that are registered", "shared memory", list[SharedRegion])
REGISTER = Operation(
    "Register a region of /dev/shm", "shared memory", Nothing, body=RegisterBody, errors=(404, 409)
)
UNREGISTER = Operation(
    "Forget a region, or all",
    "shared memory",
    Nothing,
    body_media=(JSON_MEDIA,),
    is_body_needed=False,
)
NO_DEVICE = Operation("Always 400: there is no CUDA memory", "shared memory")
NO_SETTINGS = Operation("Always 400: settings belong to the configuration", "settings")


def _describe(region: Region) -> dict[str, Any]:
    return {
        "name": region.name,
        "key": region.key,
        "offset": region.offset,
        "byte_size": region.byte_size,
    }
