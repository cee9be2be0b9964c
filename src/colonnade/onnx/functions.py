"""expand_function(): a node as the simpler nodes that ONNX itself defines it by.

ONNX gives many operators as functions of others. Those that neither a pass nor a lowering takes
are replaced by their definition, so that their parts run natively.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, cast

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto, numpy_helper

from colonnade.ir import AttrValue, DType, Node, TensorType
from colonnade.onnx import attributes
from colonnade.onnx.schemas import ONNX_DOMAIN, OpSchema, find_schema
from colonnade.onnx.types import to_type_proto

_EXPANDED = (
    "Attention", "LayerNormalization", "MeanVarianceNormalization", "NegativeLogLikelihoodLoss",
    "RMSNormalization", "RotaryEmbedding", "Shrink", "SoftmaxCrossEntropyLoss",
)  # fmt: skip
_NORMS = ("LayerNormalization", "RMSNormalization")
_NATIVE_TYPES = (DType.FLOAT32, DType.INT32, DType.INT64, DType.BOOL)


def expand_function(
    node: Node, types: Mapping[str, TensorType], constants: Collection[str]
) -> tuple[Node, ...]:
    """The node's definition; nothing when it has none, or is better kept whole.

    `types` of the node's inputs, `constants`: names of the values that are constant.
    """
    if node.domain != ONNX_DOMAIN or node.op not in _EXPANDED:
        return ()
    known = [types.get(value) for value in node.inputs if value]
    if any(type_ is None or type_.dtype not in _NATIVE_TYPES for type_ in known):
        return ()  # ONNX Runtime runs the whole faster, and rounds half precision less often.
    if node.op in _NORMS and _is_fused(node, types, constants):
        return ()
    function = _definition(node, types)
    if function is None or any(_has_body(inner) for inner in function.node):
        return ()
    return _Expansion(node, function).nodes()


def _is_fused(node: Node, types: Mapping[str, TensorType], constants: Collection[str]) -> bool:
    """True for the form that the passes adopt: one result, over the last axis."""
    shape = types[node.inputs[0]].shape
    axis = node.attrs.get("axis", -1)
    is_last = axis == -1 or (shape is not None and axis == len(shape) - 1)
    others = [value for value in node.inputs[1:] if value]
    return is_last and not any(node.outputs[1:]) and all(v in constants for v in others)


def _definition(node: Node, types: Mapping[str, TensorType]) -> FunctionProto | None:
    schema = find_schema(node.op, node.domain, node.version)
    if schema is None:
        return None
    definition: Any = schema.definition  # The stubs know nothing of functions.
    if definition.has_function:
        version = _newest(definition.function_opset_versions, node.version)
        return (
            None if version is None else _read(definition.get_function_with_opset_version(version))
        )
    if not definition.has_context_dependent_function:
        return None
    version = _newest(definition.context_dependent_function_opset_versions, node.version)
    if version is None:
        return None
    proto = _to_proto(node, schema)
    input_types = [
        (to_type_proto(types[value]) if value else TypeProto()).SerializeToString()
        for value in node.inputs
    ]
    return _read(
        definition.get_context_dependent_function_with_opset_version(
            version, proto.SerializeToString(), input_types
        )
    )


def _newest(versions: Collection[int], limit: int) -> int | None:
    """The newest that the node's opset knows; an operator's meaning does not change with others."""
    return max((v for v in versions if v <= limit), default=min(versions, default=None))


@lru_cache(maxsize=256)
def _read(content: bytes) -> FunctionProto:
    function = FunctionProto()
    function.ParseFromString(content)
    return function


def _to_proto(node: Node, schema: OpSchema) -> NodeProto:
    made = NodeProto(op_type=node.op, domain=node.domain, input=node.inputs, output=node.outputs)
    for name, value in node.attrs.items():
        made.attribute.append(attributes.to_proto(name, value, schema))
    return made


def _has_body(node: NodeProto) -> bool:
    return any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute)


class _Expansion:
    """One use of a function: its values get names of their own."""

    def __init__(self, node: Node, function: FunctionProto) -> None:
        self._node = node
        self._function = function
        self._versions = {entry.domain: entry.version for entry in function.opset_import}
        self._defaults = {a.name: a for a in function.attribute_proto}
        self._prefix = f"{next(out for out in node.outputs if out)}/{node.op}"
        padded = (*node.inputs, *("",) * len(function.input))
        self._names: dict[str, str] = dict(zip(function.input, padded, strict=False))
        self._names.update(zip(function.output, node.outputs, strict=False))

    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._inner(i, inner) for i, inner in enumerate(self._function.node))

    def _inner(self, number: int, inner: NodeProto) -> Node:
        inputs = [self._name(value) for value in inner.input]
        while inputs and not inputs[-1]:
            inputs.pop()
        return Node(
            inner.op_type,
            tuple(inputs),
            tuple(self._name(value) for value in inner.output),
            self._attributes(inner),
            f"{self._node.name}/{inner.op_type}_{number}",
            inner.domain,
            self._versions.get(inner.domain, self._node.version),
        )

    def _name(self, local: str) -> str:
        """The outer name of an input or an output that is wanted; else one made up."""
        if not local:
            return ""
        if local in self._function.input:
            return self._names.get(local, "")
        return self._names.get(local) or f"{self._prefix}/{local}"

    def _attributes(self, inner: NodeProto) -> dict[str, AttrValue]:
        made: dict[str, AttrValue] = {}
        for attribute in inner.attribute:
            value = self._value(attribute)
            if value is not None:
                made[attribute.name] = value
        return made

    def _value(self, attribute: AttributeProto) -> AttrValue | None:
        """The value; of a reference, that of the node or the function's default."""
        if attribute.ref_attr_name:
            given = self._node.attrs.get(attribute.ref_attr_name)
            if given is not None:
                return given
            default = self._defaults.get(attribute.ref_attr_name) or self._schema_default(
                attribute.ref_attr_name
            )
            return None if default is None else self._value(default)
        if attribute.type == AttributeProto.TENSOR:
            return numpy_helper.to_array(attribute.t)
        value: Any = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode()
        return tuple(value) if isinstance(value, list) else cast(AttrValue, value)

    def _schema_default(self, name: str) -> AttributeProto | None:
        schema = onnx.defs.get_schema(self._node.op, self._node.version, self._node.domain)
        default = schema.attributes[name].default_value if name in schema.attributes else None
        return default if default is not None and default.name else None
