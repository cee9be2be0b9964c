"""Bytes to messages and back, with the nesting bounded: protobuf does both by recursion."""

from __future__ import annotations

import threading

from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError, EncodeError
from onnx import GraphProto, ModelProto

from colonnade.errors import ModelError
from colonnade.onnx.budget import Budget
from colonnade.onnx.scopes import bodies
from colonnade.onnx.wire import measure_nesting

_MAX_PARSER_DEPTH = 100
"""Messages inside one another that protobuf parses unless told otherwise."""
_parser_lock = threading.Lock()

_MAX_SERIALISED_NESTING = 1000
"""Of a ModelProto built in memory: protobuf serialises by recursion."""


def parse_structure(structure: bytes, budget: Budget) -> ModelProto:
    """The model without its payloads, as a message."""
    if api_implementation.Type() == "python":
        raise ModelError(
            "protobuf runs in pure Python here, which is neither fast nor safe enough to read a "
            "model; unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION or reinstall protobuf"
        )
    try:
        return _parse(structure)
    except DecodeError as error:
        depth = measure_nesting(structure, budget)
        if depth <= _MAX_PARSER_DEPTH or depth > _depth_of(budget.max_nesting):
            raise ModelError(f"not an ONNX model, or damaged: {error}") from error
    with _parser_lock:
        allow = api_implementation._c_module.SetAllowOversizeProtos
        allow(True)  # for the whole process; the depth was measured, and is bounded
        try:
            return _parse(structure)
        except DecodeError as error:
            raise ModelError(f"not an ONNX model, or damaged: {error}") from error
        finally:
            allow(False)


def parse_message(message: GraphProto, content: bytes) -> None:
    """Fill a body from its bytes; raises ModelError for one that other readers would refuse."""
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise ModelError(
            f"its bodies are nested deeper than ONNX Runtime reads, which would run it: {error}"
        ) from error


def _depth_of(nesting: int) -> int:
    """Messages inside one another for so many bodies: graph, node and attribute each."""
    return 3 * (nesting + 1) + 20


def _parse(structure: bytes) -> ModelProto:
    model = ModelProto()
    model.ParseFromString(structure)
    return model


def serialise(model: ModelProto) -> bytes:
    """The bytes of a message that was built in memory."""
    nodes = list(model.graph.node)
    for _ in range(_MAX_SERIALISED_NESTING):
        nodes = [inner for node in nodes for body in bodies(node) for inner in body.node]
        if not nodes:
            break
    else:
        raise ModelError("bodies of If, Loop or Scan lie too deep in one another")
    try:
        return bytes(model.SerializeToString())
    except (ValueError, EncodeError) as error:
        raise ModelError(
            f"the ModelProto cannot be serialised: {error}; save it with external data"
        ) from error
