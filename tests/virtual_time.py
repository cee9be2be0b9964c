"""An event loop whose time is a number: it waits for nothing, and no machine is too slow for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.EpollSelector):
    """What is ready now; if nothing is, time goes on to the next timer.

    Unix sockets hold what was written as soon as the write returns, so nothing is ever on its way.
    """

    elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.elapsed_s += timeout
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.virtual = _Selector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.elapsed_s


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, in virtual time."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(work)


def advance(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """As if the process had been stopped for a while."""
    assert isinstance(loop, _VirtualLoop)
    loop.virtual.elapsed_s += seconds
