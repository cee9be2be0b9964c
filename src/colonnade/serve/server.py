"""A server from its configuration: models, front ends, and how it stops."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colonnade.engine.runtime import Runtime
from colonnade.serve.auth import allow_everybody, make_authorize
from colonnade.serve.config import ServerConfig
from colonnade.serve.grpc.control import control_actions
from colonnade.serve.grpc.server import start_grpc_server
from colonnade.serve.http.app import Route
from colonnade.serve.http.listen import HttpServer, make_routes, start_http_server
from colonnade.serve.repository import Repository
from colonnade.serve.shared_memory import SharedMemory
from colonnade.serve.task_models import RepositoryModels
from colonnade.serve.tasks import TaskService, read_task_specs
from colonnade.serve.tracing import start_tracing
from colonnade.serve.watch import watch

if TYPE_CHECKING:
    import grpc.aio

logger = logging.getLogger("colonnade.serve")


@dataclass(frozen=True)
class Ports:
    """Where a server listens."""

    http: int
    grpc: int | None


class Server:
    """The models and front ends of a process. `start`, `stop`; or `serve` for a whole life."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.repository = Repository(Runtime(threads=config.threads or 0))
        self._http: HttpServer | None = None
        self._grpc: grpc.aio.Server | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def routes(self) -> list[Route]:
        """Of the HTTP server that runs."""
        return [] if self._http is None else self._http.app.routes

    def make_routes(self) -> list[Route]:
        """Of a server that need not run; inside of an event loop."""
        models = RepositoryModels(self.repository)
        service = TaskService(
            read_task_specs(self.config.tasks, "server"), models, models.folder_of
        )
        return make_routes(self.repository, self.config, allow_everybody, service)

    async def start(self) -> Ports:
        """Listen, then load: liveness is there at once, readiness when every model has run.

        What was started is stopped when the rest fails.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> Ports:
        config = self.config
        authorize = make_authorize(config.api_keys_file)
        certificate = None
        if config.tls_certificate is not None and config.tls_key is not None:
            certificate = (config.tls_certificate, config.tls_key)
        memory = SharedMemory() if config.shared_memory else None
        self._http = await start_http_server(self.repository, config, authorize, memory)
        grpc_port = None
        if config.grpc_port is not None:
            self._grpc, grpc_port = await start_grpc_server(
                self.repository,
                f"{config.host}:{config.grpc_port}",
                regions=memory,
                actions=control_actions(
                    self.repository, memory, model_control=config.model_control
                ),
                authorize=authorize,
                message_bytes_max=config.limits.body_bytes,
                certificate=certificate,
            )
        if config.trace:
            self.repository.tracing = start_tracing(asyncio.get_running_loop().time)
        await self.repository.open(config)
        if config.poll_s is not None:
            self._watcher = asyncio.ensure_future(watch(self.repository, config, config.poll_s))
        return Ports(self._http.port, grpc_port)

    async def stop(self) -> None:
        """Readiness goes false, requests under way are answered up to `drain_s`, then all ends."""
        self.repository.is_closing = True
        if self._watcher is not None:
            self._watcher.cancel()
        deadline = asyncio.get_running_loop().time() + self.config.drain_s
        if self._grpc is not None:
            await self._grpc.stop(self.config.drain_s)
        if self._http is not None:
            await self._http.stop(deadline)
        await self.repository.close()
        if self.repository.tracing is not None:
            await asyncio.to_thread(self.repository.tracing.close)


async def serve(config: ServerConfig, on_ready: Callable[[Server, Ports], None]) -> None:
    """Run until SIGTERM or SIGINT; a second signal ends without waiting."""
    server = Server(config)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ports = await server.start()
    on_ready(server, ports)
    await stopping.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    logger.info("stopping: requests under way have %g s", config.drain_s)
    await server.stop()
