"""Random nodes of every ONNX operator, with extreme attributes, shapes and constants.

Most are invalid. Whatever comes of one, it must be an answer: no crash, no hang, no foreign error.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TypeProto, numpy_helper
from onnx import helper as h

Arrays = dict[str, np.ndarray]
Dims = tuple[int | str | None, ...]

_INTS = (
    0, 1, -1, 2, 3, 4, 7, -2, 5, 64, 1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 40, 1 << 62,
    -(1 << 63), (1 << 63) - 1,
)  # fmt: skip
_FLOATS = (0.0, 1.0, -1.0, 0.5, 1e30, -1e30, float("inf"), float("nan"), 1e-30, 2.0)
_TEXTS = (
    "", "NOTSET", "SAME_UPPER", "VALID", "nearest", "linear", "cubic", "reflect", "forward",
    "bidirectional", "ij,jk->ik", "i...j->", "...", "->", "ij,", "Relu", "DCR", "x" * 50, "((((",
    "i" * 200, "TF", "MAX", "none", "mean",
)  # fmt: skip
_TYPES = (1, 1, 1, 7, 7, 6, 9, 2, 3, 10)
_NEWEST_OPSET = 26


@dataclass(frozen=True)
class RandomNode:
    """A node, its opset, the types of the inputs that are not constant, and the constants."""

    node: NodeProto
    version: int
    types: dict[str, tuple[int, Dims]]
    constants: Arrays

    def model(self) -> ModelProto:
        """A model of this node alone."""
        graph = h.make_graph([self.node], "g", [], [])
        graph.input.extend(
            h.make_tensor_value_info(name, elem, dims) for name, (elem, dims) in self.types.items()
        )
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.node.output)
        graph.initializer.extend(
            numpy_helper.from_array(array, name) for name, array in self.constants.items()
        )
        domain = self.node.domain
        versions = {"": 17, domain: self.version}
        imports = [h.make_opsetid(name, version) for name, version in versions.items()]
        return h.make_model(graph, ir_version=10, opset_imports=imports)

    def feeds(self) -> Arrays:
        """Small values for the inputs; a dimension without a number is 2."""
        generator = np.random.default_rng(0)
        made = {}
        for name, (elem, dims) in self.types.items():
            shape = [dim if isinstance(dim, int) else 2 for dim in dims]
            values = generator.integers(-3, 4, shape)
            made[name] = values.astype(h.tensor_dtype_to_np_dtype(elem))
        return made


def random_node(source: random.Random, *, large_dims: bool) -> RandomNode:
    """The next node; `large_dims` lets dimensions of inputs be too large to feed."""
    schema = source.choice(_schemas())
    count = 0
    if schema.max_input:
        most = min(schema.max_input, schema.min_input + 4, 8)
        count = source.randint(schema.min_input, max(most, schema.min_input))
    inputs = [
        f"i{j}" if j < schema.min_input or source.random() < 0.9 else "" for j in range(count)
    ]
    outputs = source.randint(schema.min_output, min(schema.max_output, schema.min_output + 3))
    node = NodeProto(op_type=schema.name, domain=schema.domain, name="n", input=inputs)
    node.output.extend(f"o{j}" for j in range(outputs))
    for name, attribute in schema.attributes.items():
        if attribute.required or source.random() < 0.5:
            value = _attribute(source, int(attribute.type.value))
            if value is not None:
                kind = AttributeProto.AttributeType.ValueType(int(attribute.type.value))
                node.attribute.append(h.make_attribute(name, value, attr_type=kind))
    version = schema.since_version if schema.domain else max(7, schema.since_version)
    made = RandomNode(node, version, {}, {})
    for name in filter(None, inputs):
        if source.random() < 0.35:
            made.constants[name] = _constant(source)
        else:
            made.types[name] = source.choice(_TYPES), _dims(source, large_dims)
    return made


@cache
def _schemas() -> list[Any]:
    """Operators without bodies."""
    graph = onnx.defs.OpSchema.AttrType.GRAPH
    found = [
        schema
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain in ("", "ai.onnx.ml")
        and schema.since_version <= _NEWEST_OPSET
        and all(attribute.type != graph for attribute in schema.attributes.values())
    ]
    return sorted(found, key=lambda schema: (schema.domain, schema.name, schema.since_version))


def _attribute(source: random.Random, kind: int) -> Any:
    count = source.choice((0, 1, 2, 3, 4, 6, 8))
    match kind:
        case AttributeProto.INT:
            return _int(source)
        case AttributeProto.FLOAT:
            return source.choice(_FLOATS)
        case AttributeProto.STRING:
            return source.choice(_TEXTS)
        case AttributeProto.INTS:
            return [_int(source) for _ in range(count)]
        case AttributeProto.FLOATS:
            return [source.choice(_FLOATS) for _ in range(count)]
        case AttributeProto.STRINGS:
            return [source.choice(_TEXTS) for _ in range(count)]
        case AttributeProto.TENSOR:
            shape = [source.choice((0, 1, 2)) for _ in range(source.randrange(3))]
            return numpy_helper.from_array(np.zeros(shape, source.choice((np.float32, np.int64))))
        case AttributeProto.TYPE_PROTO:
            return TypeProto()
    return None


def _int(source: random.Random) -> int:
    return source.choice(_INTS) if source.random() < 0.5 else source.randrange(-2, 6)


def _constant(source: random.Random) -> np.ndarray:
    count = source.choice((0, 1, 2, 3, 4, 8))
    if source.random() < 0.7:
        made = np.array([_int(source) for _ in range(count)], np.int64)
    else:
        made = np.array([source.choice(_FLOATS) for _ in range(count)], np.float32)
    if source.random() < 0.3:
        made = made.reshape(() if made.size == 1 else (1, -1))
    return made


def _dims(source: random.Random, large: bool) -> Dims:
    rank = source.choice((0, 1, 1, 2, 3, 4, 4, 5))
    odd: tuple[int | str | None, ...] = (0, 1, 3, "n", None) + ((1 << 31, 1 << 40) if large else ())
    return tuple(
        source.choice(odd) if source.random() < 0.3 else source.choice((1, 2, 4, 8))
        for _ in range(rank)
    )
