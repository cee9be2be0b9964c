"""The protobuf wire format of a model, read without building messages.

`split_model` parts a file into its structure, small enough to parse, and the places of the large
tensors, which are then read once, straight into arrays. `measure_nesting` walks any depth without
recursion. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from colonnade.errors import ModelError
from colonnade.onnx.budget import Budget
from colonnade.onnx.source import BytesSource, Source

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_TRAINING = 7, 20
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
TENSOR_FLOATS, TENSOR_RAW, TENSOR_DOUBLES = 4, 9, 10
_PAYLOAD_FIELDS = frozenset((TENSOR_FLOATS, TENSOR_RAW, TENSOR_DOUBLES))

_MIN_PAYLOAD_BYTES = 16 << 10
"""Tensors below this stay in the structure; shape and axis constants are far smaller."""
_WINDOW_BYTES = 64 << 10
_TENSOR_WINDOW_BYTES = 1 << 10
_MAX_HEADER_BYTES = 20
"""Of one field: key and length as varints of at most ten bytes each."""


class Field(NamedTuple):
    """One field: its number, wire type, and the positions of its key, content and end."""

    number: int
    wire_type: int
    start: int
    content: int
    end: int


@dataclass(frozen=True, slots=True)
class Payload:
    """The packed values of one tensor, left in the file; `number` is the field they were in."""

    number: int
    offset: int
    length: int


@dataclass(frozen=True)
class SplitModel:
    """A ModelProto without its large tensors, and where those are."""

    structure: bytes
    payloads: dict[int, tuple[Payload, ...]]
    """By index among the main graph's initializers."""


def split_model(source: Source, budget: Budget) -> SplitModel:
    """Part the model into structure and payloads; raises ModelError when it is no model."""
    if source.size == 0:
        raise ModelError("not an ONNX model: it is empty")
    if source.size > budget.max_model_bytes:
        raise ModelError(
            f"the model has {source.size} bytes, the budget is {budget.max_model_bytes}; "
            "keep its weights as external data"
        )
    outer, graph = _Pieces(source, budget), None
    for field in fields(source, 0, source.size):
        if field.number == _MODEL_GRAPH and field.wire_type == _BYTES:
            if graph is not None:
                raise ModelError("not an ONNX model: it holds two graphs")
            outer.skip(field.start, field.end)
            graph = _split_graph(source, field, budget)
        elif field.number == _MODEL_TRAINING:
            outer.skip(field.start, field.end)
    if graph is None:
        raise ModelError("not an ONNX model: it holds no graph, or it is truncated")
    structure, payloads = graph
    outer.add(_header(_MODEL_GRAPH, len(structure)) + structure)
    return SplitModel(outer.join(source.size), payloads)


def fields(
    source: Source, start: int, end: int, window_bytes: int = _WINDOW_BYTES
) -> Iterator[Field]:
    """The fields of the message at [start, end); raises ModelError where they do not fit."""
    position, base, data = start, 0, source.read(0, 0)
    while position < end:
        if position + _MAX_HEADER_BYTES > base + len(data):
            base, data = position, source.read(position, min(window_bytes, source.size - position))
        index = position - base
        try:
            key, index = _read_varint(data, index)
            wire_type = key & 7
            if wire_type == _BYTES:
                length, index = _read_varint(data, index)
                content = base + index
                stop = content + length
            else:
                content = base + index
                stop = content + _fixed_length(wire_type, data, index)
        except (IndexError, ValueError):
            raise _broken(position, end) from None
        if stop > end or key < 8:
            raise _broken(position, end)
        yield Field(key >> 3, wire_type, position, content, stop)
        position = stop


def measure_nesting(structure: bytes, budget: Budget) -> int:
    """Messages inside one another, at most; raises ModelError for too many nested bodies."""
    source = BytesSource(structure)
    deepest = 0
    stack = [("model", 0, len(structure), 0, 1)]
    while stack:
        kind, start, end, bodies, level = stack.pop()
        deepest = max(deepest, level)
        if bodies > budget.max_nesting + 1:  # the main graph counts one
            raise ModelError(
                f"nesting > {budget.max_nesting}: bodies of If, Loop or Scan lie deeper than that "
                "in one another; flatten the model"
            )
        children = _CHILDREN.get(kind, {})
        for field in fields(source, start, end):
            child = children.get(field.number)
            if child and field.wire_type == _BYTES:
                inner = bodies + (child == "graph")
                stack.append((child, field.content, field.end, inner, level + 1))
    return deepest


_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "leaf", 11: "value", 12: "value", 13: "value"},
    "function": {7: "node", 11: "attribute", 12: "value"},
    "node": {5: "attribute"},
    "attribute": {5: "leaf", 6: "graph", 11: "graph", 14: "type", 15: "type"},
    "value": {2: "type"},
    "type": {1: "leaf", 4: "sequence", 5: "map", 9: "sequence"},
    "sequence": {1: "type"},
    "map": {2: "type"},
}
"""The messages that can hold themselves, and the way to them."""


def _split_graph(
    source: Source, graph: Field, budget: Budget
) -> tuple[bytes, dict[int, tuple[Payload, ...]]]:
    pieces = _Pieces(source, budget, graph.content)
    payloads: dict[int, tuple[Payload, ...]] = {}
    num_nodes = num_initializers = 0
    for field in fields(source, graph.content, graph.end):
        if field.number == _GRAPH_NODE:
            num_nodes += 1
        elif field.number == _GRAPH_INITIALIZER:
            if field.end - field.content >= _MIN_PAYLOAD_BYTES and field.wire_type == _BYTES:
                found, rest = _split_tensor(source, field)
                if found:
                    pieces.skip(field.start, field.end)
                    pieces.add(_header(_GRAPH_INITIALIZER, len(rest)) + rest)
                    payloads[num_initializers] = found
            num_initializers += 1
    if num_nodes > budget.max_nodes:
        raise ModelError(f"the graph has {num_nodes} nodes, the budget is {budget.max_nodes}")
    return pieces.join(graph.end), payloads


def _split_tensor(source: Source, tensor: Field) -> tuple[tuple[Payload, ...], bytes]:
    """The tensor's large packed values, and the rest of its message."""
    payloads, rest = [], []
    for field in fields(source, tensor.content, tensor.end, _TENSOR_WINDOW_BYTES):
        length = field.end - field.content
        is_payload = field.number in _PAYLOAD_FIELDS and field.wire_type == _BYTES
        if is_payload and length >= _MIN_PAYLOAD_BYTES:
            payloads.append(Payload(field.number, field.content, length))
        else:
            rest.append(bytes(source.read(field.start, field.end - field.start)))
    return tuple(payloads), b"".join(rest)


class _Pieces:
    """Parts of a message that are kept: ranges of the source, and bytes made here."""

    def __init__(self, source: Source, budget: Budget, start: int = 0) -> None:
        self._source = source
        self._budget = budget
        self._pieces: list[bytes | memoryview] = []
        self._start = start
        self._size = 0

    def skip(self, start: int, end: int) -> None:
        """Keep everything up to `start`, leave out [start, end)."""
        self._check(start - self._start)
        if start > self._start:
            self._pieces.append(self._source.read(self._start, start - self._start))
        self._start = end

    def add(self, piece: bytes) -> None:
        """Bytes that stand after what was kept so far; call `skip` before it."""
        self._check(len(piece))
        self._pieces.append(piece)

    def join(self, end: int) -> bytes:
        """Everything kept, up to `end`."""
        self.skip(end, end)
        return b"".join(self._pieces)

    def _check(self, num_bytes: int) -> None:
        self._size += num_bytes
        if self._size > self._budget.max_structure_bytes:
            raise ModelError(
                f"the model without its weights has more than {self._budget.max_structure_bytes} "
                "bytes, the budget; keep weights as raw_data or external data"
            )


def _read_varint(data: bytes | memoryview, index: int) -> tuple[int, int]:
    byte = data[index]
    if byte < 0x80:
        return byte, index + 1
    value, shift = byte & 0x7F, 7
    while True:
        index += 1
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index + 1
        shift += 7
        if shift > 63:
            raise ValueError


def _fixed_length(wire_type: int, data: bytes | memoryview, index: int) -> int:
    if wire_type == _VARINT:
        return _read_varint(data, index)[1] - index
    if wire_type == _FIXED64:
        return 8
    if wire_type == _FIXED32:
        return 4
    raise ValueError  # groups: nothing in ONNX has them


def _header(number: int, length: int) -> bytes:
    """Key and length of a message field."""
    made, rest = bytearray([number << 3 | _BYTES]), length
    while rest >= 0x80:
        made.append(rest & 0x7F | 0x80)
        rest >>= 7
    made.append(rest)
    return bytes(made)


def _broken(position: int, end: int) -> ModelError:
    return ModelError(
        f"not an ONNX model, or truncated: the field at byte {position} does not fit "
        f"into the {end} bytes that enclose it"
    )
