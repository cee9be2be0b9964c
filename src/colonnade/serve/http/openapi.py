"""The OpenAPI 3.1 document of a server, from its table of routes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

import colonnade
from colonnade.serve.http.app import Route
from colonnade.serve.http.operation import JSON_MEDIA, Operation
from colonnade.serve.http.schema import ErrorBody

Json = dict[str, Any]

REASONS = {
    200: "It is done.",
    400: "The request is wrong; the body says where.",
    401: "A key is needed.",
    403: "This server does not allow it.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "It does not fit what the server is doing.",
    413: "The body is too large, or has too many tensors.",
    429: "Too many requests wait; `retry-after` says when to try again.",
    500: "A fault of the server; its log has it under the request id.",
    503: "Not ready, stopping, or too many connections.",
    504: "The deadline of the request passed.",
}
ANY_ROUTE = (400, 500, 503)
BODY_ROUTE = (408, 413)
FROM_CONNECTION = (400, 503)
"""Also answered before a route is found (no HTTP, too many connections), then as plain text."""
REF = "#/components/schemas/{name}"


def make_document(routes: Iterable[Route]) -> Json:
    """The document; raises ValueError when a route says nothing of itself."""
    operations = [(route, _operation(route)) for route in routes]
    types = _types(operation for _, operation in operations)
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    schema_of = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, Json] = {}
    for route, operation in operations:
        # Of two routes with the same path the first one answers.
        paths.setdefault(route.path, {}).setdefault(
            route.method.lower(), _describe(route, operation, schema_of)
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "colonnade",
            "version": colonnade.__version__,
            "description": "Open Inference Protocol v2 and tasks over HTTP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # Keys are needed where the server has some: the empty one is the server without.
        "security": [{"key": []}, {}],
    }


def _operation(route: Route) -> Operation:
    if route.about is None:
        raise ValueError(f"{route.method} {route.path} says nothing for the OpenAPI document")
    return route.about


def _types(operations: Iterable[Operation]) -> list[Any]:
    found: dict[str, Any] = {repr(ErrorBody): ErrorBody}
    for operation in operations:
        named = (operation.answer, operation.body, operation.error, *operation.answers.values())
        found |= {repr(given): given for given in named if given is not None}
    return list(found.values())


def _describe(route: Route, operation: Operation, schema_of: Json) -> Json:
    words = re.findall(r"\w+", route.path)
    made: Json = {
        "summary": operation.summary,
        "tags": [operation.tag],
        "operationId": "_".join((route.method.lower(), *words)),
        "responses": _responses(route, operation, schema_of),
    }
    names = re.findall(r"\{(\w+)\}", route.path)
    if names:
        made["parameters"] = [_path_parameter(name) for name in names]
    made.setdefault("parameters", []).extend(_query_parameter(name) for name in operation.query)
    if operation.takes_body:
        content = _content(operation.body, operation.body_media, schema_of)
        made["requestBody"] = {"required": operation.is_body_needed, "content": content}
    if route.is_open:
        made["security"] = [{}]
    return made


def _path_parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameter(name: str) -> Json:
    return {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}


def _responses(route: Route, operation: Operation, schema_of: Json) -> Json:
    content = _content(operation.answer, operation.answer_media, schema_of)
    responses: dict[int, Json] = {200: {"description": REASONS[200], "content": content}}
    error = schema_of[repr(ErrorBody)]
    if operation.error is not None:
        error = {"anyOf": [error, schema_of[repr(operation.error)]]}
    for status in statuses(route):
        media = {JSON_MEDIA: {"schema": error}}
        if status in operation.answers:
            own = schema_of[repr(operation.answers[status])]
            media = {JSON_MEDIA: {"schema": {"anyOf": [own, error]}}}
        if status in FROM_CONNECTION:
            media["text/plain"] = {"schema": {"type": "string"}}
        if status == 401 and operation.is_shown_without_key:
            media = content
        responses[status] = {"description": REASONS[status], "content": media}
    return {str(status): responses[status] for status in sorted(responses)}


def statuses(route: Route) -> tuple[int, ...]:
    """What a route may answer beside 200."""
    operation = _operation(route)
    found = {*ANY_ROUTE, *operation.errors, *operation.answers}
    if not route.is_open or operation.is_shown_without_key:
        found.add(401)
    if operation.takes_body:
        found |= set(BODY_ROUTE)
    if "{" in route.path:
        found.add(404)
    return tuple(sorted(found))


def _content(given: Any, media: tuple[str, ...], schema_of: Json) -> Json:
    content: Json = {name: {} for name in media}
    if given is not None:
        content[JSON_MEDIA] = {"schema": schema_of[repr(given)]}
    return content
