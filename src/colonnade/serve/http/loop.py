"""The event loop of a server process."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import uvloop


def run(work: Coroutine[Any, Any, None]) -> None:
    """As asyncio.run, on uvloop."""
    uvloop.run(work)
