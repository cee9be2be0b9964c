"""Runtime: what engines share when they run on the same threads."""

from __future__ import annotations

from colonnade import _core, knobs
from colonnade.engine.dispatch import Dispatcher


class Runtime(_core.Runtime):
    """Topology, a pinned thread pool and the queue of requests for it; engines may share one.

    `threads`: COLONNADE_THREADS, or the physical cores granted to this process, by default.
    """

    def __init__(self, threads: int = 0) -> None:
        super().__init__(threads or knobs.threads() or 0)
        self.dispatcher = Dispatcher(self.threads)
