"""take_branch(): an If whose condition is known, as the nodes of the branch that runs.

Exporters write If for what depends on shapes; once those are bound, one branch is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, numpy_helper

from colonnade.ir import AttrValue, DType, Node, Subgraph
from colonnade.onnx.budget import Budget
from colonnade.onnx.contrib import CONTRIB_OPS
from colonnade.onnx.parser import parse_message
from colonnade.onnx.schemas import CONTRIB_DOMAIN, ONNX_DOMAIN
from colonnade.onnx.scopes import Scope, bodies, resolve
from colonnade.onnx.tensors import dtype_of

Renamed = Mapping[str, str]


def take_branch(node: Node, constants: Mapping[str, np.ndarray]) -> tuple[Node, ...]:
    """The nodes of the branch that the constant condition chooses; nothing when it is unknown."""
    condition = constants.get(node.inputs[0]) if node.op == "If" and not node.domain else None
    if condition is None or condition.size != 1:
        return ()
    body = node.attrs["then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"]
    assert isinstance(body, Subgraph)
    graph = GraphProto()
    parse_message(graph, body.proto)
    if not _is_plain(graph) or len(graph.output) < len(node.outputs):
        return ()
    return _Branch(node, graph).nodes()


def _is_plain(graph: GraphProto) -> bool:
    """True when every constant and operator has a meaning outside of the body."""
    if graph.sparse_initializer:
        return False
    if any(dtype_of(tensor.data_type) is DType.OTHER for tensor in graph.initializer):
        return False
    return all(
        inner.domain in (ONNX_DOMAIN, "ai.onnx")
        or (inner.domain == CONTRIB_DOMAIN and inner.op_type in CONTRIB_OPS)
        for inner in graph.node
    )


class _Branch:
    """One branch: its values get names of their own."""

    def __init__(self, node: Node, graph: GraphProto) -> None:
        self._node = node
        self._graph = graph
        self._scope: Scope = resolve(graph, Budget(), is_body=True)
        prefix = next(out for out in node.outputs if out)
        made = {name for inner in graph.node for name in inner.output if name}
        own = made | {tensor.name for tensor in graph.initializer}
        names = {name: f"{prefix}/{name}" for name in own}
        taken: set[str] = set()
        self._copies: list[tuple[str, str]] = []
        for value, outer in zip(graph.output, node.outputs, strict=False):
            if value.name in made and outer and value.name not in taken:
                names[value.name] = outer
                taken.add(value.name)
            elif outer:  # A constant, an outer value, or the same value a second time.
                self._copies.append((value.name, outer))
        self._names: Renamed = names

    def nodes(self) -> tuple[Node, ...]:
        """Constants, the body's nodes in an order that runs, and copies to the outer names."""
        constants = [self._constant(tensor) for tensor in self._graph.initializer]
        inner = [self._inner(index) for index in self._scope.order]
        copies = [
            self._made("Identity", (self._name(local),), outer, {}) for local, outer in self._copies
        ]
        return (*constants, *inner, *copies)

    def _constant(self, tensor: TensorProto) -> Node:
        attrs: dict[str, AttrValue] = {"value": numpy_helper.to_array(tensor)}
        return self._made("Constant", (), self._names[tensor.name], attrs)

    def _made(
        self, op: str, inputs: tuple[str, ...], output: str, attrs: dict[str, AttrValue]
    ) -> Node:
        return Node(op, inputs, (output,), attrs, f"{output}/{op}", "", self._node.version)

    def _inner(self, index: int) -> Node:
        inner = self._graph.node[index]
        is_onnx = inner.domain != CONTRIB_DOMAIN
        return Node(
            inner.op_type,
            tuple(self._name(value) for value in inner.input),
            tuple(self._name(value) for value in inner.output),
            {a.name: self._attribute(a, index) for a in inner.attribute},
            f"{self._node.name}/{inner.op_type}_{index}",
            "" if is_onnx else inner.domain,
            self._node.version if is_onnx else 1,
        )

    def _name(self, local: str) -> str:
        return self._names.get(local, local)

    def _attribute(self, attribute: AttributeProto, index: int) -> AttrValue:
        if attribute.type == AttributeProto.GRAPH:
            body = GraphProto()
            body.CopyFrom(attribute.g)
            rename_captures(body, self._names)
            captures = tuple(self._name(name) for name in self._scope.captures.get(index, ()))
            return Subgraph(body.SerializeToString(), captures)
        if attribute.type == AttributeProto.TENSOR:
            return numpy_helper.to_array(attribute.t)
        value: Any = onnx.helper.get_attribute_value(attribute)
        if attribute.type == AttributeProto.STRING:
            return str(value.decode("utf-8", "surrogateescape"))
        if attribute.type == AttributeProto.STRINGS:
            return tuple(text.decode("utf-8", "surrogateescape") for text in value)
        return tuple(value) if attribute.type in _LISTS else cast(AttrValue, value)


_LISTS = (AttributeProto.INTS, AttributeProto.FLOATS)


def rename_captures(graph: GraphProto, names: Renamed) -> None:
    """Rename what a body reads from outside, in place; its own values keep their names."""
    own = {value.name for value in graph.input}
    own |= {tensor.name for tensor in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    outer = {old: new for old, new in names.items() if old not in own}
    for node in graph.node:
        _rename_inputs(node, outer)
    for value in graph.output:
        value.name = outer.get(value.name, value.name)


def _rename_inputs(node: NodeProto, names: Renamed) -> None:
    for i, value in enumerate(node.input):
        node.input[i] = names.get(value, value)
    for body in bodies(node):
        rename_captures(body, names)
