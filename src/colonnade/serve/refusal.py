"""Refusal: why a request gets no answer, in words that are safe to show to any client.

Front ends translate the kind: `http_status` here, the gRPC code in serve/grpc. A message never
holds paths, addresses or tracebacks.
"""

from __future__ import annotations

import enum

from colonnade.errors import (
    ColonnadeError,
    InputError,
    OverloadedError,
    RunError,
)


class Kind(enum.Enum):
    """What the client can do about it; the value is its label in metrics and logs."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    TIMEOUT = "timeout"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    OVERLOADED = "overloaded"
    CANCELLED = "cancelled"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline"

    @property
    def http_status(self) -> int:
        """The status of an HTTP response."""
        return _HTTP_STATUS[self]


_HTTP_STATUS = {
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.NOT_ALLOWED: 405,
    Kind.TIMEOUT: 408,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 400,
    Kind.OVERLOADED: 429,
    Kind.CANCELLED: 499,
    Kind.INTERNAL: 500,
    Kind.UNAVAILABLE: 503,
    Kind.DEADLINE: 504,
}


class Refusal(Exception):  # noqa: N818  # it is an answer, not a fault
    """A request that gets no result; `retry_after_s` where trying again may help; `allow`: the
    methods that a path has."""

    def __init__(
        self, kind: Kind, reason: str, retry_after_s: float | None = None, allow: str = ""
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.allow = allow


def refusal_of(error: BaseException) -> Refusal:
    """What a client hears of an error; nothing about one that nobody foresaw."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, InputError):
        return Refusal(Kind.INVALID, error.reason)
    if isinstance(error, OverloadedError):
        return Refusal(Kind.OVERLOADED, error.reason, retry_after_s=1.0)
    if isinstance(error, RunError):
        return Refusal(Kind.INVALID, error.reason)
    if isinstance(error, MemoryError):
        return Refusal(Kind.UNAVAILABLE, "not enough memory for this request", retry_after_s=1.0)
    if isinstance(error, ColonnadeError):
        return Refusal(Kind.UNAVAILABLE, error.reason)
    return Refusal(Kind.INTERNAL, "internal error; the server's log has it under the request id")
