"""The ASGI application: a table of routes, and what holds for all of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from colonnade.serve.auth import Authorize
from colonnade.serve.config import Limits
from colonnade.serve.http.exchange import Disconnected, header, request_id_of, send_refusal
from colonnade.serve.http.operation import Operation
from colonnade.serve.refusal import Kind, Refusal, refusal_of

logger = logging.getLogger("colonnade.serve")

Names = Mapping[str, str]
"""The named parts of a path."""


@dataclass(slots=True)
class Exchange:
    """A request that is being answered."""

    scope: Scope
    receive: Receive
    send: Send
    names: Names
    limits: Limits
    request_id: str


@dataclass(frozen=True, slots=True)
class Route:
    """Method, path (`{model}` matches one part) and handler; `is_open`: needs no key; `about`: for
    the OpenAPI document."""

    method: str
    path: str
    handler: Callable[[Exchange], Awaitable[None]]
    is_open: bool = False
    about: Operation | None = None

    def pattern(self) -> re.Pattern[str]:
        """Of the whole path."""
        parts = re.split(r"\{(\w+)\}", self.path)
        text = "".join(
            f"(?P<{part}>[^/]+)" if place % 2 else re.escape(part)
            for place, part in enumerate(parts)
        )
        return re.compile(text)


class App:
    """Finds the route, checks the key, and answers whatever goes wrong."""

    def __init__(self, routes: list[Route], limits: Limits, authorize: Authorize) -> None:
        self.routes = routes
        self._table = [(route, route.pattern()) for route in routes]
        self._limits = limits
        self._authorize = authorize
        self.in_flight = 0
        """Requests that are being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            return
        request_id = request_id_of(scope["headers"])
        self.in_flight += 1
        try:
            route, names = self._find(scope)
            if not route.is_open:
                value = header(scope, b"authorization")
                self._authorize(None if value is None else value.decode("latin-1"))
            await route.handler(Exchange(scope, receive, send, names, self._limits, request_id))
        except Disconnected:
            return
        except Exception as error:  # the client gets an answer, the process lives
            refusal = refusal_of(error)
            if refusal.kind is Kind.INTERNAL:
                logger.exception("request %s failed", request_id)
            await send_refusal(send, refusal, request_id)
        finally:
            self.in_flight -= 1

    def _find(self, scope: Scope) -> tuple[Route, Names]:
        path, method = scope["path"], scope["method"]
        wanted = "GET" if method == "HEAD" else method
        allowed = []
        for route, pattern in self._table:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if route.method == wanted:
                return route, match.groupdict()
            allowed.append(route.method)
        # A path that does not exist needs a key like any other: it tells nothing.
        value = header(scope, b"authorization")
        self._authorize(None if value is None else value.decode("latin-1"))
        if allowed:
            if "GET" in allowed:
                allowed.append("HEAD")
            known = ", ".join(dict.fromkeys(allowed))
            raise Refusal(Kind.NOT_ALLOWED, f"{method} is not one of {known} here", allow=known)
        raise Refusal(Kind.NOT_FOUND, "no such path")
