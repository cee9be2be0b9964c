"""GET /ping and POST /invocations, as SageMaker calls a container.

The model or task is the configured `default_model`, or the only one there is.
"""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from colonnade.engine.engine import TensorInfo
from colonnade.serve.http.app import Exchange, Route
from colonnade.serve.http.codec import OutputForms, encode_answer
from colonnade.serve.http.exchange import JSON, Header, header, read_body, run_while_connected, send
from colonnade.serve.http.operation import JSON_MEDIA, Operation
from colonnade.serve.http.routes.models import answer
from colonnade.serve.http.schema import Health
from colonnade.serve.protocol import InferRequest, InferResponse
from colonnade.serve.refusal import Kind, Refusal
from colonnade.serve.repository import Repository

CSV, NPY = "text/csv", "application/x-npy"
PLAIN_FORMS = OutputForms({}, binary_default=False, places={})
Handler = Callable[[Exchange], Awaitable[None]]


def routes(
    repository: Repository,
    tasks: tuple[str, ...],
    default: str | None,
    infer: Handler,
    task: Handler,
) -> list[Route]:
    """`infer` and `task`: what answers JSON for the model or task in `exchange.names`."""

    async def ping(exchange: Exchange) -> None:
        is_ready = repository.is_ready
        await answer(exchange, {"ready": is_ready}, 200 if is_ready else 503)

    async def invoke(exchange: Exchange) -> None:
        name = choose(tasks, tuple(repository.models()), default)
        media = media_type(exchange)
        if name in tasks:
            path = f"/v1/tasks/{name}"
            exchange.names = {"name": name}
            exchange.scope = {**exchange.scope, "path": path, "raw_path": path.encode()}
            await task(exchange)
        elif media in (CSV, NPY):
            await _invoke_array(exchange, repository, name, media)
        elif media in (JSON_MEDIA, "application/octet-stream"):
            exchange.names = {"model": name}
            await infer(exchange)
        else:
            raise Refusal(
                Kind.INVALID, f"content-type {media!r}; known are {JSON_MEDIA}, {CSV} and {NPY}"
            )

    return [
        Route("GET", "/ping", ping, about=PING),
        Route("POST", "/invocations", invoke, about=INVOCATIONS),
    ]


PING = Operation("Whether every model answers", "sagemaker", Health, answers={503: Health})
INVOCATIONS = Operation(
    "Run the default model or task: its JSON, or one tensor as CSV or .npy",
    "sagemaker",
    dict[str, Any],
    (CSV, NPY, "application/octet-stream"),
    body=dict[str, Any],
    body_media=(CSV, NPY),
    errors=(404, 409, 429, 504),
)


def choose(tasks: tuple[str, ...], models: tuple[str, ...], default: str | None) -> str:
    """The task or model that /invocations is for; raises Refusal.

    >>> choose(("topics",), ("encoder",), None)
    'topics'
    """
    names = tasks or models
    if default is not None and default in (*tasks, *models):
        return default
    if default is not None:
        raise Refusal(Kind.NOT_FOUND, f"default_model {default!r} is not there")
    if len(names) != 1:
        raise Refusal(
            Kind.INVALID,
            f"/invocations is for one of {len(names)} models: set default_model in the "
            "configuration",
        )
    return names[0]


def media_type(exchange: Exchange) -> str:
    """Of the body; JSON where nothing is said."""
    given = header(exchange.scope, b"content-type") or JSON_MEDIA.encode()
    return given.decode("latin-1").partition(";")[0].strip().lower()


async def _invoke_array(exchange: Exchange, repository: Repository, name: str, media: str) -> None:
    body = await read_body(exchange.scope, exchange.receive, exchange.limits)
    inputs = repository.served(name).loaded.signature.inputs
    if len(inputs) != 1:
        raise Refusal(
            Kind.INVALID,
            f"{media} is for a model of one input; {name!r} has {len(inputs)}: send JSON",
        )
    if inputs[0].dtype.kind not in "biuf":
        raise Refusal(Kind.INVALID, f"{media} is for numbers; {name!r} takes text: send JSON")
    array = (read_csv if media == CSV else read_npy)(body, inputs[0])
    work = repository.infer(InferRequest(name, {inputs[0].name: array}))
    response = await run_while_connected(work, exchange.scope)
    text, form = write_answer(response, header(exchange.scope, b"accept"))
    await send(exchange.send, 200, text, form)


def read_csv(body: bytes, info: TensorInfo) -> np.ndarray:
    """One row of values a line, without a header; raises Refusal."""
    try:
        rows = [line.split(",") for line in body.decode().splitlines() if line.strip()]
        values = np.array(rows, np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            made = values.astype(info.dtype)
    except (UnicodeDecodeError, ValueError) as error:
        raise Refusal(Kind.INVALID, f"the body is not CSV of numbers: {error}") from None
    if info.dtype.kind in "iub" and not np.array_equal(made, values):
        raise Refusal(Kind.INVALID, f"input {info.name!r}: a value does not fit {info.dtype}")
    shape = [dim if isinstance(dim, int) else -1 for dim in info.shape or (-1, -1)][1:]
    if made.ndim != 2 or shape.count(-1) > 1:
        return made
    try:
        return made.reshape(len(made), *shape)
    except ValueError:
        raise Refusal(
            Kind.INVALID, f"input {info.name!r}: {made.shape[1]} values in a line for {shape}"
        ) from None


def read_npy(body: bytes, info: TensorInfo) -> np.ndarray:
    """An array as numpy saves it, of the model's element type; never a pickle; raises Refusal."""
    try:
        array: np.ndarray = np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, SyntaxError, TypeError) as error:
        raise Refusal(Kind.INVALID, f"the body is not an .npy file: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise Refusal(Kind.INVALID, "the body is not one array of numbers in an .npy file")
    if not np.can_cast(array.dtype, info.dtype, "same_kind"):
        raise Refusal(
            Kind.INVALID, f"input {info.name!r}: {array.dtype} in the file, expected {info.dtype}"
        )
    with np.errstate(over="ignore"):
        return array.astype(info.dtype)


def write_answer(response: InferResponse, accept: bytes | None) -> tuple[bytes, Header]:
    """JSON of the protocol, or, where `accept` asks for it, the first output as CSV or .npy."""
    wanted = (accept or b"").decode("latin-1").partition(";")[0].strip().lower()
    first = next(iter(response.outputs.values()))
    if wanted == NPY and first.dtype.kind in "biuf":
        file = io.BytesIO()
        np.save(file, first, allow_pickle=False)
        return file.getvalue(), (b"content-type", NPY.encode())
    if wanted == CSV:
        rows = first.reshape(len(first), -1) if first.ndim else first.reshape(1, 1)
        lines = [",".join(json.dumps(value) for value in row) for row in rows.tolist()]
        return "\n".join([*lines, ""]).encode(), (b"content-type", CSV.encode())
    return encode_answer(response, PLAIN_FORMS)[0], JSON
