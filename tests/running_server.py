"""A real server on loopback, in a thread of the tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from colonnade.serve.config import ServerConfig
from colonnade.serve.server import Ports, Server


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    server: Server
    ports: Ports
    loop: asyncio.AbstractEventLoop

    @property
    def http(self) -> str:
        """HOST:PORT of the HTTP server."""
        return f"127.0.0.1:{self.ports.http}"

    @property
    def grpc(self) -> str:
        """HOST:PORT of the gRPC server."""
        return f"127.0.0.1:{self.ports.grpc}"

    def call(self, work: Any) -> Any:
        """The result of a coroutine, run in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


@contextmanager
def running(config: ServerConfig) -> Iterator[Running]:
    """Starts it on free ports, and stops it."""
    config = config.model_copy(update={"port": 0, "grpc_port": 0})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()

    def call(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    async def make() -> tuple[Server, Ports]:
        server = Server(config)
        return server, await server.start()

    try:
        server, ports = call(make())
        try:
            yield Running(server, ports, loop)
        finally:
            call(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def hold(found: Running, model: str) -> threading.Event:
    """Make the next runs of the model wait; set the event to let them go."""
    served = found.server.repository.served(model)
    run, free = served.loaded.engine.run, threading.Event()

    def held(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        free.wait(60)
        return run(inputs)

    engine = served.loaded.engine
    engine.run = held  # type: ignore[method-assign,assignment]
    engine.try_run = lambda *_: None  # type: ignore[method-assign]
    return free
