"""GET /ui: the page, and what it asks for."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

import msgspec

import colonnade
from colonnade.serve.auth import Authorize
from colonnade.serve.http.answers import Page
from colonnade.serve.http.app import Exchange, Route
from colonnade.serve.http.exchange import JSON, Header, header, send
from colonnade.serve.http.operation import Operation
from colonnade.serve.http.routes.tasks import describe
from colonnade.serve.http.ui import content_security_policy, page
from colonnade.serve.http.ui.feed import feed
from colonnade.serve.refusal import Refusal
from colonnade.serve.repository import Repository
from colonnade.serve.tasks import TaskService

_ENCODER = msgspec.json.Encoder()


def routes(repository: Repository, authorize: Authorize, service: TaskService) -> list[Route]:
    """Of this repository and its tasks."""
    tasks = tasks_by_model(service)
    start_s = asyncio.get_running_loop().time()
    page_headers: tuple[Header, ...] = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", content_security_policy().encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-cache"),
    )

    async def show(exchange: Exchange) -> None:
        """A browser has no key to send yet: it gets the page with a 401, and the page asks."""
        given = header(exchange.scope, b"authorization")
        status = 200
        try:
            authorize(None if given is None else given.decode("latin-1"))
        except Refusal:
            status = 401
        body = b"" if exchange.scope["method"] == "HEAD" else page()
        await send(exchange.send, status, body, *page_headers)

    async def data(exchange: Exchange) -> None:
        now_s = asyncio.get_running_loop().time()
        found = feed(repository, tasks, colonnade.__version__, start_s, now_s)
        await send(exchange.send, 200, _ENCODER.encode(found), JSON)

    async def explain(exchange: Exchange) -> None:
        query = parse_qs(exchange.scope["query_string"].decode("latin-1"))
        engine = repository.served(query.get("model", [""])[0]).loaded.engine
        # A model that has not run yet is planned for this, which takes a while.
        found = await asyncio.to_thread(engine.explain)
        # Not msgspec: measured gains are numpy's floats.
        await send(exchange.send, 200, json.dumps(found.to_dict()).encode(), JSON)

    return [
        Route("GET", "/ui", show, is_open=True, about=SHOW),
        Route("GET", "/ui/data", data, about=DATA),
        Route("GET", "/ui/explain", explain, about=EXPLAIN),
    ]


SHOW = Operation(
    "The page; without a key with status 401", "page", answer_media=("text/html",),
    is_shown_without_key=True,
)  # fmt: skip
DATA = Operation("What the page shows", "page", Page)
EXPLAIN = Operation(
    "The layers of a model", "page", dict[str, Any], query=("model",), errors=(404,)
)


def tasks_by_model(service: TaskService) -> dict[str, list[dict[str, str]]]:
    """What the page offers for each model."""
    found: dict[str, list[dict[str, str]]] = {}
    for name in service.specs:
        about = describe(service, name)
        shown = {key: str(about[key]) for key in ("name", "task", "takes")}
        for model in service.models_of(name):
            found.setdefault(model, []).append(shown)
    return found
