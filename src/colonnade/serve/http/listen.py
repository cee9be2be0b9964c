"""uvicorn in front of the application, on a socket of our own."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from colonnade.errors import CapabilityError
from colonnade.serve.auth import Authorize
from colonnade.serve.config import ServerConfig
from colonnade.serve.http.app import App, Route
from colonnade.serve.http.at_once import make_answer_at_once
from colonnade.serve.http.connection import make_protocol
from colonnade.serve.http.routes import (
    control,
    infer,
    metrics,
    models,
    openapi,
    sagemaker,
    tasks,
    ui,
)
from colonnade.serve.regions import NoRegions
from colonnade.serve.repository import Repository
from colonnade.serve.shared_memory import SharedMemory
from colonnade.serve.task_models import RepositoryModels
from colonnade.serve.tasks import TaskService, read_task_specs

BACKLOG = 1024


class HttpServer:
    """A running HTTP server."""

    def __init__(
        self,
        server: uvicorn.Server,
        task: asyncio.Task[None],
        app: App,
        port: int,
        tasks: TaskService,
    ) -> None:
        self._tasks = tasks
        self._server = server
        self._task = task
        self.app = app
        self.port = port

    async def stop(self, deadline: float) -> None:
        """Take no new connections, answer what is under way until `deadline` (loop time)."""
        loop = asyncio.get_running_loop()
        while self.app.in_flight and loop.time() < deadline:
            await asyncio.sleep(0.01)
        self._server.should_exit = True
        left_s = max(0.0, deadline - loop.time())
        _, waiting = await asyncio.wait((self._task,), timeout=left_s)
        if waiting:
            self._server.force_exit = True
            await self._task
        self._tasks.close()


def make_routes(
    repository: Repository,
    config: ServerConfig,
    authorize: Authorize,
    service: TaskService,
    memory: SharedMemory | None = None,
) -> list[Route]:
    """Every route of a server; a resource adds its line here."""
    found = [
        *tasks.routes(service, config.limits, config.deepsparse_paths),
        *infer.routes(repository, memory or NoRegions()),
        *models.routes(repository),
        *metrics.routes(repository),
        *control.routes(repository, memory, model_control=config.model_control),
        *ui.routes(repository, authorize, service),
    ]
    handlers = {route.path: route.handler for route in found if route.method == "POST"}
    found += sagemaker.routes(
        repository,
        tuple(service.specs),
        config.default_model,
        handlers["/v2/models/{model}/infer"],
        handlers["/v1/tasks/{name}"],
    )
    return openapi.with_document(found)


async def start_http_server(
    repository: Repository,
    config: ServerConfig,
    authorize: Authorize,
    memory: SharedMemory | None = None,
) -> HttpServer:
    """Listen at the configured address; port 0 takes a free one."""
    models_of_tasks = RepositoryModels(repository)
    specs = read_task_specs(config.tasks, "server")
    service = TaskService(specs, models_of_tasks, models_of_tasks.folder_of)
    routes = make_routes(repository, config, authorize, service, memory)
    app = App(routes, config.limits, authorize)
    at_once = None
    if not config.deepsparse_paths:  # these take the paths of models
        at_once = make_answer_at_once(repository, config.limits, authorize, memory)
    listening = _listen(config.host, config.port)
    settings = uvicorn.Config(
        app,
        http=make_protocol(config.limits, at_once),
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=int(config.limits.keep_alive_s),
        limit_concurrency=config.limits.connections,
        ssl_certfile=config.tls_certificate,
        ssl_keyfile=config.tls_key,
    )
    server = uvicorn.Server(settings)
    task = asyncio.ensure_future(_run(server, listening))
    while not server.started and not task.done():
        await asyncio.sleep(0.005)
    if task.done():
        await task
    return HttpServer(server, task, app, listening.getsockname()[1], service)


async def _run(server: uvicorn.Server, listening: socket.socket) -> None:
    # Not `serve`: that takes the process's signals.
    await server._serve([listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise CapabilityError(
            f"cannot listen at {host}:{port}: {error.strerror}; choose another --port"
        ) from None
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening
