"""Answers that are there without waiting: of models that take less time than a task or a thread,
and of models with no room for one more request, which is told so before anything of it is decoded.

The connection asks here first, past ASGI. Whatever is unusual is left to the route.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from weakref import WeakKeyDictionary

import numpy as np

from colonnade.serve.assembly import Key, Prepared, prepare
from colonnade.serve.auth import Authorize
from colonnade.serve.config import Limits
from colonnade.serve.http.codec import OutputForms, decode_infer, encode_answer
from colonnade.serve.http.connection import AnswerAtOnce
from colonnade.serve.http.exchange import Header, encode_refusal, request_id_of
from colonnade.serve.http.routes.infer import LENGTH, json_length
from colonnade.serve.protocol import InferRequest, InferResponse
from colonnade.serve.regions import NoRegions, Regions
from colonnade.serve.repository import Repository
from colonnade.serve.served import ServedModel

PATH = re.compile(rb"/v2/models/([A-Za-z0-9_.\-]+)/infer")
PRIORITY = b'"priority"'
RECIPES_MAX, RECIPE_BYTES_MAX = 256, 4096
"""Of a model; and of the JSON of one."""

_JSON_START = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n"
_BINARY_START = (
    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ncontent-type: application/octet-stream\r\n"
    b"inference-header-content-length: %d\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What binary requests with the same JSON share: they differ in the bytes of their tensors."""

    inputs: tuple[tuple[np.dtype[np.generic], tuple[int, ...], int, int], ...]
    """Element type, shape, elements and where they begin in the body; in the model's order."""
    body_bytes: int
    key: Key
    rows: int
    outputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    start: bytes
    """Of the response: everything before the tensors."""


def make_answer_at_once(
    repository: Repository, limits: Limits, authorize: Authorize, regions: Regions | None
) -> AnswerAtOnce:
    """For the connections of a server."""
    where, now = regions or NoRegions(), asyncio.get_running_loop().time
    recipes: WeakKeyDictionary[ServedModel, dict[bytes, _Recipe]] = WeakKeyDictionary()

    def answer(url: bytes, headers: Sequence[Header], body: bytes) -> bytes | None:
        match = PATH.fullmatch(url)
        served = None if match is None else repository.latest(match[1].decode())
        if served is None or repository.tracing is not None:
            return None
        is_fast = served.is_fast
        if not is_fast and not len(served.queue):
            return None
        if len(body) > limits.body_bytes:
            return None
        fields = dict(headers)
        if b"content-encoding" in fields:
            return None
        try:
            key = fields.get(b"authorization")
            authorize(None if key is None else key.decode("latin-1"))
            length = json_length(fields.get(LENGTH))
            head = b"" if length is None else body[:length]
            if not is_fast:
                return _refuse(served, head or body, headers)
            known = recipes.setdefault(served, {})
            recipe = known.get(head)
            if recipe is not None and len(body) == recipe.body_bytes:
                return _repeat(recipe, served, body)
            request, forms = decode_infer(body, length, now(), limits.tensors, where)
            response = served.try_infer(request)
            if response is None:
                return None
            text, text_bytes = encode_answer(response, forms, where)
            if 0 < len(head) <= RECIPE_BYTES_MAX and _is_plain(served, request, response, forms):
                if len(known) >= RECIPES_MAX:
                    known.clear()
                known[head] = _recipe(served, request, response, body, (text, text_bytes))
            return _whole(text, text_bytes)
        except Exception:  # noqa: BLE001  # the route meets it again, and tells client and log
            return None

    return answer


def _whole(body: bytes, text_bytes: int | None) -> bytes:
    """A response with its header."""
    if text_bytes is None:
        return _JSON_START % len(body) + body
    return _BINARY_START % (len(body), text_bytes) + body


def _refuse(served: ServedModel, text: bytes, headers: Sequence[Header]) -> bytes | None:
    """A refusal of a request that says no priority of its own."""
    refusal = None if PRIORITY in text else served.try_refuse()
    if refusal is None:
        return None
    lines, body = encode_refusal(refusal, request_id_of(headers))
    lines.append((b"content-length", str(len(body)).encode()))
    status = HTTPStatus(refusal.kind.http_status)
    start = f"HTTP/1.1 {status.value} {status.phrase}".encode()
    return b"\r\n".join([start, *[b"%s: %s" % line for line in lines], b"", body])


def _repeat(recipe: _Recipe, served: ServedModel, body: bytes) -> bytes | None:
    arrays = [
        np.frombuffer(body, dtype, count, begin).reshape(shape)
        for dtype, shape, count, begin in recipe.inputs
    ]
    made = served.try_prepared(Prepared(tuple(arrays), recipe.key, recipe.rows, {}))
    if made is None:
        return None
    outputs = [made[name] for name in recipe.outputs]
    if tuple([array.shape for array in outputs]) != recipe.shapes:
        return None
    return b"".join([recipe.start, *[array.tobytes() for array in outputs]])


def _is_plain(
    served: ServedModel, request: InferRequest, response: InferResponse, forms: OutputForms
) -> bool:
    """Whether nothing but bytes of tensors follows the JSON, both ways, and nothing is padded."""
    inputs, outputs = request.inputs.values(), response.outputs
    return (
        set(request.parameters) <= {"binary_data_output"}
        and not served.loaded.signature.buckets
        and not forms.places
        and all(_is_view(array) for array in inputs)
        and all(
            forms.binary.get(name, forms.binary_default) and array.dtype.kind != "O"
            for name, array in outputs.items()
        )
    )


def _is_view(array: np.ndarray) -> bool:
    """Of the body, as it came: neither copied from JSON or text, nor converted."""
    return array.base is not None and not array.flags.writeable and array.dtype.kind != "O"


def _recipe(
    served: ServedModel,
    request: InferRequest,
    response: InferResponse,
    body: bytes,
    answer: tuple[bytes, int | None],
) -> _Recipe:
    signature = served.loaded.signature
    offset = len(body) - sum(array.nbytes for array in request.inputs.values())
    places = {}
    for name, array in request.inputs.items():
        places[name] = (array.dtype, array.shape, array.size, offset)
        offset += array.nbytes
    prepared = prepare(signature, request.inputs, served.queue.policy.rows_max)
    text, text_bytes = answer
    header = _whole(text, text_bytes)
    return _Recipe(
        tuple([places[info.name] for info in signature.inputs]),
        len(body),
        prepared.key,
        prepared.rows,
        tuple(response.outputs),
        tuple([array.shape for array in response.outputs.values()]),
        header[: len(header) - len(text) + (text_bytes or 0)],
    )
