"""API keys: `Authorization: Bearer KEY`, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from colonnade.errors import InputError
from colonnade.serve.refusal import Kind, Refusal

Authorize = Callable[[str | None], None]
"""Raises Refusal unless the value of `authorization` lets a request in."""


def allow_everybody(_: str | None) -> None:
    """A server without keys."""


def read_keys(path: Path) -> list[bytes]:
    """The digests of the keys in a file, one a line; blank lines and # are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"api_keys_file {path}: {error}") from None
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise InputError(f"api_keys_file {path} holds no key; without the option none is needed")
    return [sha256(key.encode()).digest() for key in keys]


def make_authorize(path: Path | None) -> Authorize:
    """The check for the keys in a file; without one everybody may come in."""
    if path is None:
        return allow_everybody
    digests = read_keys(path)

    def authorize(value: str | None) -> None:
        scheme, _, key = (value or "").partition(" ")
        given = sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        # Every key is compared, in a time that does not depend on how much of it is right.
        matches = [hmac.compare_digest(given, digest) for digest in digests]
        if scheme.lower() != "bearer" or not any(matches):
            raise Refusal(Kind.UNAUTHENTICATED, "an API key is needed: Authorization: Bearer KEY")

    return authorize
