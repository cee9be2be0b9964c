"""The protobuf wire format of a model, read without building messages.

`split_model` parts a file into its structure, small enough to parse, and the places of the large
tensors, which are then read once, straight into arrays. `measure_nesting` walks any depth without
recursion. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from colonnade.errors import ModelError
from colonnade.onnx.budget import Budget
from colonnade.onnx.source import BytesSource, Source

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_TRAINING = 7, 14, 20
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_OP, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSOR = 5
_CONSTANT = b"Constant"
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


Payloads = tuple[Payload, ...]
"""Of one tensor; a valid one has at most one."""


@dataclass
class SplitModel:
    """A ModelProto without its large tensors, and where those are in the main graph."""

    structure: bytes = b""
    initializers: dict[int, Payloads] = field(default_factory=dict)
    """By index of the initializer."""
    constants: dict[int, Payloads] = field(default_factory=dict)
    """By index of the Constant node."""


def split_model(source: Source, budget: Budget) -> SplitModel:
    """Part the model into structure and payloads; raises ModelError when it is no model."""
    if source.size == 0:
        raise ModelError("not an ONNX model: it is empty")
    if source.size > budget.max_model_bytes:
        raise ModelError(
            f"the model has {source.size} bytes, the budget is {budget.max_model_bytes}; "
            "keep its weights as external data"
        )
    made = SplitModel()
    outer, graph, num_metadata = _Pieces(source, budget), None, 0
    for part in fields(source, 0, source.size):
        if part.number == _MODEL_GRAPH and part.wire_type == _BYTES:
            if graph is not None:
                raise ModelError("not an ONNX model: it holds two graphs")
            outer.skip(part.start, part.end)
            graph = _split_graph(source, part, budget, made)
        elif part.number == _MODEL_TRAINING:
            outer.skip(part.start, part.end)
        elif part.number == _MODEL_METADATA:
            num_metadata += 1
            if num_metadata > budget.max_metadata_entries:
                raise ModelError(f"more than {budget.max_metadata_entries} metadata entries")
    if graph is None:
        raise ModelError("not an ONNX model: it holds no graph, or it is truncated")
    outer.add(_header(_MODEL_GRAPH, len(graph)) + graph)
    made.structure = outer.join(source.size)
    return made


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
        for part in fields(source, start, end):
            child = children.get(part.number)
            if child and part.wire_type == _BYTES:
                inner = bodies + (child == "graph")
                stack.append((child, part.content, part.end, inner, level + 1))
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


def _split_graph(source: Source, graph: Field, budget: Budget, made: SplitModel) -> bytes:
    """The graph without its large tensors, whose places go to `made`."""
    pieces = _Pieces(source, budget, graph.content)
    num_nodes = num_initializers = 0
    for part in fields(source, graph.content, graph.end):
        is_large = part.wire_type == _BYTES and part.end - part.content >= _MIN_PAYLOAD_BYTES
        if part.number == _GRAPH_NODE:
            if is_large and _is_constant(source, part):
                path = (_NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR)
                found = _take_payloads(source, part, path, pieces)
                made.constants.update({num_nodes: found} if found else {})
            num_nodes += 1
        elif part.number == _GRAPH_INITIALIZER:
            if is_large:
                found = _take_payloads(source, part, (), pieces)
                made.initializers.update({num_initializers: found} if found else {})
            num_initializers += 1
        if max(num_nodes, num_initializers) > budget.max_nodes:
            raise ModelError(f"the graph has more than {budget.max_nodes} nodes, the budget")
    return pieces.join(graph.end)


def _is_constant(source: Source, node: Field) -> bool:
    return any(
        part.number == _NODE_OP and source.read(part.content, len(_CONSTANT)) == _CONSTANT
        for part in fields(source, node.content, node.end, _TENSOR_WINDOW_BYTES)
        if part.end - part.content == len(_CONSTANT)
    )


def _take_payloads(
    source: Source, message: Field, path: tuple[int, ...], pieces: _Pieces
) -> Payloads:
    """Leave the tensor at `path` inside the message without its payloads, and return those."""
    payloads, rest = _split_message(source, message, path)
    if payloads:
        pieces.skip(message.start, message.end)
        pieces.add(_header(message.number, len(rest)) + rest)
    return payloads


def _split_message(source: Source, message: Field, path: tuple[int, ...]) -> tuple[Payloads, bytes]:
    """Large packed values of the tensor at `path`, and the message without them."""
    payloads: list[Payload] = []
    rest: list[bytes] = []
    for part in fields(source, message.content, message.end, _TENSOR_WINDOW_BYTES):
        length = part.end - part.content
        is_large = part.wire_type == _BYTES and length >= _MIN_PAYLOAD_BYTES
        if is_large and not path and part.number in _PAYLOAD_FIELDS:
            payloads.append(Payload(part.number, part.content, length))
        elif is_large and path and part.number == path[0]:
            found, inner = _split_message(source, part, path[1:])
            payloads += found
            rest.append(_header(part.number, len(inner)) + inner)
        else:
            rest.append(bytes(source.read(part.start, part.end - part.start)))
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
