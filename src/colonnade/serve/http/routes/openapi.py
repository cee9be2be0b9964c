"""GET /openapi.json: the document of these routes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from colonnade.serve.http.app import Exchange, Route
from colonnade.serve.http.openapi import make_document
from colonnade.serve.http.operation import Operation
from colonnade.serve.http.routes.models import answer


def with_document(routes: Sequence[Route]) -> list[Route]:
    """These routes and the one that describes them all, itself too."""

    @functools.cache
    def document() -> dict[str, Any]:
        return make_document(everything)

    async def show(exchange: Exchange) -> None:
        await answer(exchange, document())

    everything = [*routes, Route("GET", "/openapi.json", show, about=SHOW)]
    return everything


SHOW = Operation("This document", "openapi", dict[str, Any])
