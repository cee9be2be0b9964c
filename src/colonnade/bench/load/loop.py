"""An event loop whose timers are good to tens of microseconds."""

from __future__ import annotations

import asyncio
import select
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _FineSelector(selectors.EpollSelector):
    """epoll rounds a timeout up to a millisecond, which is longer than many an answer takes."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def run(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, with fine timers."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_FineSelector())) as runner:
        return runner.run(work)
