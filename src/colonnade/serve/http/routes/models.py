"""What there is: server, models, their state, configuration and statistics."""

from __future__ import annotations

from typing import Any

import msgspec

import colonnade
from colonnade.serve import describe
from colonnade.serve.http.answers import IndexedModel, ModelConfiguration, Statistics
from colonnade.serve.http.app import Exchange, Route
from colonnade.serve.http.exchange import JSON, send
from colonnade.serve.http.operation import Operation
from colonnade.serve.http.schema import Health, ModelMetadata, ModelReady, ServerMetadata
from colonnade.serve.refusal import Kind, Refusal
from colonnade.serve.repository import Repository

EXTENSIONS = (
    "binary_tensor_data", "model_configuration", "statistics", "schedule_policy", "sequence",
    "parameters", "model_repository",
)  # fmt: skip
_ENCODER = msgspec.json.Encoder()


async def answer(exchange: Exchange, value: Any, status: int = 200) -> None:
    """A value as JSON."""
    body = b"" if exchange.scope["method"] == "HEAD" else _ENCODER.encode(value)
    await send(exchange.send, status, body, JSON)


def routes(repository: Repository) -> list[Route]:
    """Of this repository."""

    def named(exchange: Exchange) -> tuple[str, str]:
        return exchange.names["model"], exchange.names.get("version", "")

    async def live(exchange: Exchange) -> None:
        await answer(exchange, {"live": True})

    async def ready(exchange: Exchange) -> None:
        is_ready = repository.is_ready
        await answer(exchange, {"ready": is_ready}, 200 if is_ready else 503)

    async def server(exchange: Exchange) -> None:
        await answer(
            exchange,
            {"name": "colonnade", "version": colonnade.__version__, "extensions": EXTENSIONS},
        )

    async def metadata(exchange: Exchange) -> None:
        model, version = named(exchange)
        served = repository.served(model, version)
        await answer(exchange, describe.metadata(served, repository.models()[model]))

    async def model_ready(exchange: Exchange) -> None:
        model, version = named(exchange)
        try:
            repository.served(model, version)
        except Refusal as refusal:
            if refusal.kind is not Kind.UNAVAILABLE:
                raise
            await answer(exchange, {"name": model, "ready": False}, 503)
            return
        await answer(exchange, {"name": model, "ready": True})

    async def config(exchange: Exchange) -> None:
        await answer(exchange, describe.config(repository.served(*named(exchange))))

    async def statistics(exchange: Exchange) -> None:
        found = describe.all_served(repository)
        if "model" in exchange.names:
            found = [repository.served(*named(exchange))]
        stats = [describe.statistics(served) for served in found]
        await answer(exchange, {"model_stats": stats})

    async def index(exchange: Exchange) -> None:
        await answer(exchange, describe.index(repository, ready_only=False))

    by_model = [
        ("/ready", model_ready, MODEL_READY),
        ("/config", config, CONFIG),
        ("/stats", statistics, STATISTICS),
        ("", metadata, METADATA),
    ]
    return [
        Route("GET", "/v2/health/live", live, is_open=True, about=LIVE),
        Route("GET", "/v2/health/ready", ready, about=READY),
        Route("GET", "/v2", server, about=SERVER),
        Route("GET", "/v2/models/stats", statistics, about=STATISTICS),
        Route("POST", "/v2/repository/index", index, about=INDEX),
        *(
            Route("GET", f"/v2/models/{{model}}{version}{rest}", handler, about=about)
            for rest, handler, about in by_model
            for version in ("", "/versions/{version}")
        ),
    ]


LIVE = Operation("Whether the process answers", "health", Health)
READY = Operation("Whether every model answers", "health", Health, answers={503: Health})
MODEL_READY = Operation("Whether a model answers", "models", ModelReady, answers={503: ModelReady})
SERVER = Operation("Name, version and extensions", "models", ServerMetadata)
METADATA = Operation("Inputs and outputs of a model", "models", ModelMetadata)
CONFIG = Operation("Batching of a model", "models", ModelConfiguration)
STATISTICS = Operation("Requests and durations", "models", Statistics)
INDEX = Operation("Every version of every model", "repository", list[IndexedModel])
