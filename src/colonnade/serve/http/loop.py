"""The event loop of a server process."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any

import uvloop

SWITCH_S = 5e-4
"""How long another thread may keep the interpreter from the loop: a tenth of Python's default. Loading
a model is seconds of Python beside requests that take microseconds."""


def run(work: Coroutine[Any, Any, None]) -> None:
    """As asyncio.run, on uvloop."""
    sys.setswitchinterval(SWITCH_S)
    uvloop.run(work)
