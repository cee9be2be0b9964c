"""Tasks over HTTP: v1/tasks, v1/tasks/{name}, v1/embeddings and v1/models.

    POST /v1/tasks/{name}   {"inputs": one or a list}, or a file as body, or multipart files

Errors of the request are answered here; what else is raised is for the server around.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope

from colonnade.errors import InputError
from colonnade.pipeline.catalogue import find_task
from colonnade.pipeline.options import near_match
from colonnade.pipeline.results import Embedding
from colonnade.serve.config import Limits
from colonnade.serve.deepsparse import body_of_results, items_of_body
from colonnade.serve.http import answers, app
from colonnade.serve.http.exchange import read_body, run_while_connected
from colonnade.serve.http.operation import BINARY_MEDIA, Operation
from colonnade.serve.task_json import ITEMS_MAX, item_of_file, items_of_json, kind_of, plain
from colonnade.serve.tasks import TaskService, TaskSpec, UnknownTaskError

FILE_TYPES = ("image/", "audio/", "application/octet-stream", "text/plain")
FILE_MEDIA = ("image/*", "audio/*", BINARY_MEDIA, "text/plain", "multipart/form-data")
RUN = Operation(
    "Answer the items of a task: JSON, a file, or several in a form", "tasks", answers.TaskAnswer,
    body=answers.TaskBody, body_media=FILE_MEDIA, errors=(429, 504),
)  # fmt: skip
EMBEDDINGS = Operation(
    "Vectors of texts, as OpenAI has it", "embeddings", answers.EmbeddingAnswer,
    body=answers.EmbeddingRequest, errors=(404, 429, 504), error=answers.OpenAiErrorBody,
)  # fmt: skip
DEEPSPARSE = Operation(
    "A task, as clients of DeepSparse ask for it", "tasks", dict[str, Any],
    body=dict[str, Any], errors=(404, 429, 504),
)  # fmt: skip
DEEPSPARSE_FILES = Operation(
    "The same from files", "tasks", dict[str, Any], body=answers.TaskBody, body_media=FILE_MEDIA,
    errors=(404, 429, 504),
)  # fmt: skip
ENDS = (("", DEEPSPARSE), ("/from_files", DEEPSPARSE_FILES))
PATHS = (
    ("GET", "/v1/tasks", Operation("The tasks", "tasks", answers.TaskList)),
    ("GET", "/v1/tasks/{name}", Operation("What a task takes", "tasks", answers.TaskDescription)),
    ("POST", "/v1/tasks/{name}", RUN),
    ("POST", "/v1/embeddings", EMBEDDINGS),
    (
        "GET",
        "/v1/models",
        Operation(
            "The tasks, as OpenAI lists models", "embeddings", answers.ModelList,
            error=answers.OpenAiErrorBody,
        ),
    ),
    (
        "GET",
        "/v1/models/{name}",
        Operation("One of them", "embeddings", answers.ListedModel, error=answers.OpenAiErrorBody),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """How the server reads a body within its limits, and drops work whose client is gone."""

    read_body: Callable[[Scope, Receive], Awaitable[bytes]]
    while_connected: Callable[[Coroutine[Any, Any, Any], Scope], Awaitable[Any]]


def routes(service: TaskService, limits: Limits, by_path: Mapping[str, str]) -> list[app.Route]:
    """The routes as the application has them; `by_path`: tasks of DeepSparse's paths."""

    async def read(scope: Scope, receive: Receive) -> bytes:
        return await read_body(scope, receive, limits)

    exchange = Exchange(read, run_while_connected)
    first = deepsparse_routes(service, by_path, exchange)
    router = Router([*first, *task_routes(service, exchange)])

    async def handle(request: app.Exchange) -> None:
        await router(request.scope, request.receive, request.send)

    of_deepsparse = [
        ("POST", f"/v2/models/{path}/infer{end}", about) for path in by_path for end, about in ENDS
    ]
    return [
        app.Route(method, path, handle, about=about)
        for method, path, about in (*of_deepsparse, *PATHS)
    ]


def task_routes(service: TaskService, exchange: Exchange) -> list[Route]:
    """The routes, for a router of the server."""

    async def run(request: Request) -> Response:
        name = request.path_params["name"]
        items = await _items(service.kind(name), request, exchange)
        results = await exchange.while_connected(service.answer(name, items), request.scope)
        return JSONResponse({"task": name, "results": [plain(result) for result in results]})

    async def index(_: Request) -> Response:
        return JSONResponse({"tasks": [describe(service, name) for name in service.specs]})

    async def describe_one(request: Request) -> Response:
        name = request.path_params["name"]
        service.spec(name)
        return JSONResponse(describe(service, name))

    async def embeddings(request: Request) -> Response:
        body = _json(await exchange.read_body(request.scope, request.receive))
        wanted = EmbeddingBody.of(body)
        if not _is_embedding(service, wanted.model):
            raise UnknownTaskError(f"model {wanted.model!r} does not make embeddings")
        work = service.answer(wanted.model, wanted.texts)
        results = await exchange.while_connected(work, request.scope)
        return JSONResponse(_embedding_answer(wanted, results))

    async def models(_: Request) -> Response:
        entries = [_model_entry(name) for name in service.specs]
        return JSONResponse({"object": "list", "data": entries})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        service.spec(name)
        return JSONResponse(_model_entry(name))

    return [
        Route("/v1/tasks", _guarded(index), methods=["GET"]),
        Route("/v1/tasks/{name}", _guarded(describe_one), methods=["GET"]),
        Route("/v1/tasks/{name}", _guarded(run), methods=["POST"]),
        Route("/v1/embeddings", _guarded(embeddings), methods=["POST"]),
        Route("/v1/models", _guarded(models), methods=["GET"]),
        Route("/v1/models/{name}", _guarded(model), methods=["GET"]),
    ]


def deepsparse_routes(
    service: TaskService, by_path: Mapping[str, str], exchange: Exchange
) -> list[Route]:
    """What clients of DeepSparse's server call; to stand before the routes of the same paths."""

    async def infer(request: Request) -> Response:
        spec = service.spec(_task_at(by_path, request))
        body = _json(await exchange.read_body(request.scope, request.receive))
        return await _answer(spec, items_of_body(spec.task, body), request)

    async def infer_files(request: Request) -> Response:
        spec = service.spec(_task_at(by_path, request))
        return await _answer(spec, await _items(kind_of(spec.task), request, exchange), request)

    async def _answer(spec: TaskSpec, items: list[Any], request: Request) -> Response:
        work = service.answer(spec.name, items)
        results = await exchange.while_connected(work, request.scope)
        return JSONResponse(plain(body_of_results(spec.task, results)))

    return [
        Route("/v2/models/{path:path}/infer", _guarded(infer), methods=["POST"]),
        Route("/v2/models/{path:path}/infer/from_files", _guarded(infer_files), methods=["POST"]),
    ]


def _task_at(by_path: Mapping[str, str], request: Request) -> str:
    path = request.path_params["path"]
    if path not in by_path:
        raise UnknownTaskError(f"unknown model {path!r}; {near_match(path, list(by_path))}")
    return by_path[path]


def describe(service: TaskService, name: str) -> dict[str, Any]:
    """What a client may know of a task."""
    spec = service.spec(name)
    task = find_task(spec.task).name if spec.task else "graph"
    return {"name": name, "task": task, "takes": service.kind(name), "steps": list(spec.steps)}


@dataclass(frozen=True)
class EmbeddingBody:
    """POST /v1/embeddings, as OpenAI has it."""

    model: str
    texts: list[str]
    is_base64: bool

    @staticmethod
    def of(body: dict[str, Any]) -> EmbeddingBody:
        """Check a body; raises InputError."""
        model, given = body.get("model"), body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(model, str):
            raise InputError("model: expected the name of a model")
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            raise InputError("input: expected a text or a list of texts; tokens are not taken")
        if any(not text for text in texts):
            raise InputError("input: a text is empty")
        form = body.get("encoding_format") or "float"
        if form not in ("float", "base64"):
            raise InputError(f"encoding_format {form!r}; it is float or base64")
        if body.get("dimensions") is not None:
            raise InputError("dimensions: vectors have the size that the model gives them")
        return EmbeddingBody(model, texts, form == "base64")


def _embedding_answer(wanted: EmbeddingBody, results: list[Embedding]) -> dict[str, Any]:
    tokens = sum(result.tokens for result in results)
    data = [
        {"object": "embedding", "index": place, "embedding": _vector(result.vector, wanted)}
        for place, result in enumerate(results)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": wanted.model, "usage": usage}


def _vector(vector: np.ndarray, wanted: EmbeddingBody) -> object:
    if not wanted.is_base64:
        return vector.tolist()
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _is_embedding(service: TaskService, name: str) -> bool:
    task = service.spec(name).task
    return bool(task) and find_task(task).name == "embeddings"


def _model_entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "colonnade"}


async def _items(kind: str, request: Request, exchange: Exchange) -> list[Any]:
    """The items of a body: JSON, a file, or several in a form."""
    body = await exchange.read_body(request.scope, request.receive)
    content = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if content == "multipart/form-data":
        return [item_of_file(kind, data) for data in await _files(request, body)]
    if content.startswith(FILE_TYPES):
        return [item_of_file(kind, body)]
    given = _json(body)
    if set(given) != {"inputs"}:
        raise InputError(f'expected {{"inputs": ...}}, got the keys {sorted(given)[:16]}')
    return items_of_json(kind, given["inputs"])


async def _files(request: Request, body: bytes) -> list[bytes]:
    async def again() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    upload = Request(request.scope, again)
    try:
        async with upload.form(
            max_files=ITEMS_MAX, max_fields=16, max_part_size=len(body) + 1
        ) as form:
            files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            data = [await part.read() for part in files]
    except (MultiPartException, HTTPException, KeyError, ValueError) as error:
        raise InputError(f"not a multipart form: {error}") from None
    if not data:
        raise InputError("the form holds no file")
    return data


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise InputError("the body is not JSON") from None
    if not isinstance(found, dict):
        raise InputError(f"the body is no JSON object but {type(found).__name__}")
    return found


def _guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Any:
    """Errors of the request as answers."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except BaseExceptionGroup as group:
            return _refused(request, _first(group))
        except (InputError, UnknownTaskError) as error:
            return _refused(request, error)

    return answer


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    inner: BaseException = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _refused(request: Request, error: BaseException) -> Response:
    """400 or 404; clients of OpenAI's routes look for an object. Other errors go on."""
    if isinstance(error, InputError):
        status, reason = 400, error.reason
    elif isinstance(error, UnknownTaskError):
        status, reason = 404, str(error)
    else:
        raise error
    if not request.url.path.startswith(("/v1/embeddings", "/v1/models")):
        return JSONResponse({"error": reason}, status)
    said = {"message": reason, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": said}, status)
