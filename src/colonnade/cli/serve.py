"""colonnade serve: models behind the protocols that clients speak."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colonnade.cli.console import Console
from colonnade.cli.exits import reported_errors
from colonnade.cli.options import DebugOption
from colonnade.errors import CapabilityError

if TYPE_CHECKING:
    from colonnade.serve.config import ServerConfig
    from colonnade.serve.server import Ports, Server


def serve_command(
    source: Annotated[
        Path | None,
        typer.Argument(help="A model, a folder of models, or a YAML file.", show_default=False),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; 8000 by default, 0: any.")] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="gRPC port; 8001 by default, 0: any, -1: no gRPC.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of all models together.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Load every model, say what came of it, and end.")
    ] = False,
    dump_config: Annotated[
        bool, typer.Option("--dump-config", help="Print the whole configuration and end.")
    ] = False,
    dump_schema: Annotated[
        bool, typer.Option("--dump-schema", help="Print the JSON Schema of the YAML and end.")
    ] = False,
    openapi: Annotated[
        bool, typer.Option("--openapi", help="Print the OpenAPI document of the routes and end.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Serve models: Open Inference Protocol over REST and gRPC, metrics for Prometheus."""
    with reported_errors(Console(), debug=debug):
        stack = _import_stack()
        if dump_schema:
            typer.echo(json.dumps(stack.ServerConfig.model_json_schema(), indent=2))
            return
        if openapi:
            config = stack.ServerConfig() if source is None else stack.read_config(source)
            typer.echo(json.dumps(asyncio.run(_openapi(config)), indent=2))
            return
        if source is None:
            raise typer.BadParameter("a model, a folder of models or a YAML file is needed")
        config = _with_options(stack.read_config(source), host, port, grpc_port, threads)
        if dump_config:
            typer.echo(json.dumps(config.model_dump(mode="json"), indent=2))
            return
        if check:
            raise typer.Exit(asyncio.run(_check(config)))
        _run(config)


def _import_stack() -> Any:
    try:
        from colonnade.serve import config

        importlib.import_module("colonnade.serve.server")
    except ImportError as error:
        raise CapabilityError(
            f"serving needs {error.name}: pip install 'colonnade[serve]'"
        ) from None
    return config


def _with_options(
    config: ServerConfig,
    host: str | None,
    port: int | None,
    grpc_port: int | None,
    threads: int | None,
) -> ServerConfig:
    changes: dict[str, Any] = {}
    for name, value in (("host", host), ("port", port), ("threads", threads)):
        if value is not None:
            changes[name] = value
    if grpc_port is not None:
        changes["grpc_port"] = None if grpc_port < 0 else grpc_port
    elif config.grpc_port is None:
        changes["grpc_port"] = 8001 if config.port == 8000 and port is None else 0
    return config.model_copy(update=changes)


def _run(config: ServerConfig) -> None:
    from colonnade.serve.http.loop import run
    from colonnade.serve.server import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(serve(config, _say_ready))


def _say_ready(server: Server, ports: Ports) -> None:
    for line in _states(server):
        typer.echo(line)
    grpc = "" if ports.grpc is None else f", gRPC at {server.config.host}:{ports.grpc}"
    scheme = "http" if server.config.tls_key is None else "https"
    typer.echo(f"serving at {scheme}://{server.config.host}:{ports.http}{grpc}")


def _states(server: Server) -> list[str]:
    lines = []
    for name, entry in server.repository.models().items():
        for number, version in entry.versions.items():
            lines.append(f"{name} {number}: {version.state.value} {version.reason}".rstrip())
            if version.served is not None:
                lines += [f"  {note}" for note in version.served.loaded.notes]
    return lines


async def _openapi(config: ServerConfig) -> dict[str, Any]:
    from colonnade.serve.http.openapi import make_document
    from colonnade.serve.server import Server

    return make_document(Server(config.model_copy(update={"threads": 1})).make_routes())


async def _check(config: ServerConfig) -> int:
    from colonnade.serve.server import Server

    server = Server(config.model_copy(update={"port": 0, "grpc_port": None}))
    await server.start()
    try:
        for line in _states(server):
            typer.echo(line)
        return 0 if server.repository.is_ready else 1
    finally:
        await server.stop()
