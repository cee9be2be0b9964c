"""The page at /ui: one file without external assets, and the policy that it is served with."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib import resources


@functools.cache
def page() -> bytes:
    """The page."""
    return resources.files(__package__).joinpath("page.html").read_bytes()


@functools.cache
def content_security_policy() -> str:
    """Nothing but the page's own style and script, and requests to this server."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash_of('style')}",
            f"script-src {_hash_of('script')}",
            "img-src data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _hash_of(tag: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>".encode(), page(), re.DOTALL)
    assert found is not None
    digest = hashlib.sha256(found[1]).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
