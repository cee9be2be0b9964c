"""AttributeProto to the values of a Node's `attrs`, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import AttributeProto, NodeProto

from colonnade.errors import ModelError
from colonnade.ir import AttrValue, Subgraph
from colonnade.onnx.parser import parse_message
from colonnade.onnx.schemas import OpSchema
from colonnade.onnx.tensors import TensorReader, to_tensor
from colonnade.onnx.wire import Payload

METADATA = "colonnade."
"""Attributes of this prefix are metadata in a file, which other runtimes do not look at."""


def from_metadata(node: NodeProto) -> dict[str, AttrValue]:
    """Entries of a node's metadata that are ours, by their keys."""
    return {
        entry.key: entry.value for entry in node.metadata_props if entry.key.startswith(METADATA)
    }


def from_proto(
    attribute: AttributeProto,
    reader: TensorReader,
    captures: tuple[str, ...] = (),
    payload: Payload | None = None,
) -> AttrValue:
    """The value of an attribute that was validated.

    `captures`: of the node's bodies. `payload`: where a tensor's values are, if not here.
    """
    kind = attribute.type
    if kind == AttributeProto.INT:
        return int(attribute.i)
    if kind == AttributeProto.FLOAT:
        return float(attribute.f)
    if kind == AttributeProto.STRING:
        return _text(attribute.s)
    if kind == AttributeProto.INTS:
        return tuple(attribute.ints)
    if kind == AttributeProto.FLOATS:
        return tuple(attribute.floats)
    if kind == AttributeProto.STRINGS:
        return tuple(value.decode("utf-8", "surrogateescape") for value in attribute.strings)
    if kind == AttributeProto.TENSOR:
        return reader.read(attribute.t, payload)
    if kind == AttributeProto.GRAPH:
        return Subgraph(attribute.g.SerializeToString(), captures)
    if kind == AttributeProto.SPARSE_TENSOR:
        return reader.read_sparse(attribute.sparse_tensor)
    if kind == AttributeProto.TYPE_PROTO:
        return bytes(attribute.tp.SerializeToString())
    raise ModelError(f"attribute {attribute.name!r} of kind {kind} is not supported")


def add_attributes(
    made: NodeProto, attrs: Mapping[str, AttrValue], schema: OpSchema | None
) -> None:
    """Write a node's attributes, and its metadata."""
    for name, value in attrs.items():
        if name.startswith(METADATA):
            made.metadata_props.add(key=name, value=str(value))
        else:
            made.attribute.append(to_proto(name, value, schema))


def to_proto(name: str, value: AttrValue, schema: OpSchema | None) -> AttributeProto:
    """The attribute; the schema tells empty lists, and types from strings."""
    kind = schema.attributes.get(name) if schema is not None else None
    made = AttributeProto(name=name)
    if isinstance(value, Subgraph):
        made.type = AttributeProto.GRAPH
        parse_message(made.g, value.proto)
    elif isinstance(value, np.ndarray):
        made.type = AttributeProto.TENSOR
        made.t.CopyFrom(to_tensor(value))
    elif isinstance(value, tuple):
        _set_list(made, value, kind)
    elif isinstance(value, bytes) and kind == AttributeProto.TYPE_PROTO:
        made.type = AttributeProto.TYPE_PROTO
        made.tp.ParseFromString(value)
    elif isinstance(value, (str, bytes)):
        made.type = AttributeProto.STRING
        made.s = value if isinstance(value, bytes) else _encode(value)
    elif isinstance(value, float) or (kind == AttributeProto.FLOAT and isinstance(value, int)):
        made.type = AttributeProto.FLOAT
        made.f = value
    elif isinstance(value, int):
        made.type = AttributeProto.INT
        made.i = value
    else:
        raise ValueError(f"attribute {name!r}: a {type(value).__name__} has no ONNX form")
    return made


def _set_list(made: AttributeProto, value: tuple[object, ...], kind: int | None) -> None:
    first = value[0] if value else None
    if kind == AttributeProto.STRINGS or isinstance(first, str):
        made.type = AttributeProto.STRINGS
        made.strings.extend(_encode(str(text)) for text in value)
    elif kind == AttributeProto.FLOATS or isinstance(first, float):
        made.type = AttributeProto.FLOATS
        made.floats.extend(value)
    else:
        made.type = AttributeProto.INTS
        made.ints.extend(value)


def _text(value: bytes) -> str | bytes:
    """Text, or the bytes themselves where they are none."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return bytes(value)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
