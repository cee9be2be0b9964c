"""GET /metrics, for Prometheus."""

from __future__ import annotations

from colonnade.serve.http.app import Exchange, Route
from colonnade.serve.http.exchange import send
from colonnade.serve.http.operation import Operation
from colonnade.serve.metrics import CONTENT_TYPE, make_metrics, render
from colonnade.serve.repository import Repository


def routes(repository: Repository) -> list[Route]:
    """Of this repository."""
    registry = make_metrics(repository)

    async def metrics(exchange: Exchange) -> None:
        await send(exchange.send, 200, render(registry), (b"content-type", CONTENT_TYPE))

    return [Route("GET", "/metrics", metrics, about=METRICS)]


METRICS = Operation("Figures for Prometheus", "metrics", answer_media=("text/plain",))
