"""What the OpenAPI document says of a route: data that stands beside the route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BINARY_MEDIA = "application/octet-stream"
JSON_MEDIA = "application/json"


@dataclass(frozen=True, slots=True)
class Operation:
    """A route in words and types. Types are those of msgspec; media types without one are bytes.

    `errors`: statuses beyond those that any route may answer; `answers`: statuses other than 200
    that have a body of their own; `error`: what an error's body may also be.
    """

    summary: str
    tag: str
    answer: Any = None
    answer_media: tuple[str, ...] = ()
    body: Any = None
    body_media: tuple[str, ...] = ()
    is_body_needed: bool = True
    errors: tuple[int, ...] = ()
    answers: Mapping[int, Any] = field(default_factory=dict)
    error: Any = None
    query: tuple[str, ...] = ()
    is_shown_without_key: bool = False

    @property
    def takes_body(self) -> bool:
        """Whether a request has one."""
        return self.body is not None or bool(self.body_media)
