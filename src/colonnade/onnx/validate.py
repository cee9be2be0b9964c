"""Structural checks of a model, before any library but the protobuf parser touches it.

Everything is linear in the size of the model, allocates nothing that its file does not hold, and
ends in a ModelError that says where, what, and what to do. Start reading at `validate_model`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from onnx import (
    IR_VERSION,
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
)

from colonnade.errors import ModelError
from colonnade.onnx.budget import Budget
from colonnade.onnx.contrib import CONTRIB_OPS, RUNTIME_OPS
from colonnade.onnx.node_view import Known, NodeView, Values
from colonnade.onnx.rules import check_rules
from colonnade.onnx.schemas import (
    CONTRIB_DOMAIN,
    MAX_CONTRIB_OPSET,
    MAX_ML_OPSET,
    MAX_OPSET,
    MIN_OPSET,
    ML_DOMAIN,
    ONNX_DOMAIN,
    OpSchema,
    find_other_domain,
    find_schema,
)
from colonnade.onnx.scopes import bodies, check_name, node_label, resolve, resolve_nodes, shown
from colonnade.onnx.tensors import MAX_RANK, TensorReader, is_known_type, type_name
from colonnade.onnx.wire import Payloads

FunctionId = tuple[str, str, str]
"""Domain, name, overload."""

_NEWEST = {ONNX_DOMAIN: MAX_OPSET, ML_DOMAIN: MAX_ML_OPSET, CONTRIB_DOMAIN: MAX_CONTRIB_OPSET}

_ATTRIBUTE_FIELDS: dict[int, str] = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
}
"""Kinds that operators have; lists of tensors, graphs and types are in none."""


def validate_model(
    model: ModelProto,
    reader: TensorReader,
    payloads: Mapping[str, Payloads],
    budget: Budget,
    custom_domains: Collection[str] = (),
) -> None:
    """Raise ModelError unless the model can be imported.

    `payloads`: values of the main graph's constants that are not in the message, by name.
    `custom_domains`: of operators that the user registered; their nodes are taken as they are.
    """
    if not 1 <= model.ir_version <= IR_VERSION:
        raise ModelError(
            f"IR version {model.ir_version} is not supported, expected 1 to {IR_VERSION}; "
            "export the model again with a current exporter"
        )
    for entry in model.metadata_props:
        check_name(entry.key, "metadata key", budget)
    resolve(model.graph, budget)
    functions = _index_functions(model.functions, budget)
    _check_expansion(model.graph, functions, budget)
    versions = opset_versions(model, budget)
    _Validator(reader, functions, versions, budget, custom_domains).main(model.graph, payloads)
    for function in functions.values():
        own = _read_versions(function.opset_import, budget)
        _Validator(reader, functions, own, budget, custom_domains).function(function)


def opset_versions(model: ModelProto, budget: Budget) -> dict[str, int]:
    """Opset by domain; models older than IR version 3 are opset 1."""
    if model.ir_version < 3 and not model.opset_import:
        return {ONNX_DOMAIN: 1}
    return _read_versions(model.opset_import, budget)


def normal_domain(domain: str) -> str:
    """The ONNX domain has two names."""
    return ONNX_DOMAIN if domain == "ai.onnx" else domain


def _read_versions(imports: Sequence[OperatorSetIdProto], budget: Budget) -> dict[str, int]:
    versions: dict[str, int] = {}
    for entry in imports:
        check_name(entry.domain, "domain", budget)
        domain = normal_domain(entry.domain)
        if versions.setdefault(domain, entry.version) != entry.version:
            raise ModelError(f"domain {shown(domain)} is imported with two opsets")
    newest = versions.get(ONNX_DOMAIN, MAX_OPSET)
    if not MIN_OPSET <= newest <= MAX_OPSET:
        raise ModelError(
            f"opset {newest} is not supported, expected {MIN_OPSET} to {MAX_OPSET}; "
            "export the model with such an opset, or convert it"
        )
    return versions


def function_id(node: NodeProto) -> FunctionId:
    """What a node would call, if the model has such a function."""
    return normal_domain(node.domain), node.op_type, node.overload


def _index_functions(
    functions: Sequence[FunctionProto], budget: Budget
) -> dict[FunctionId, FunctionProto]:
    index: dict[FunctionId, FunctionProto] = {}
    for function in functions:
        check_name(function.name, "function name", budget)
        key = (normal_domain(function.domain), function.name, function.overload)
        if key in index:
            raise ModelError(f"function {shown(function.name)} is defined twice")
        index[key] = function
    return index


def _check_expansion(
    graph: GraphProto, functions: Mapping[FunctionId, FunctionProto], budget: Budget
) -> None:
    """Count the nodes after inlining without inlining; find functions that call themselves."""
    if not functions:
        return
    calls = {key: _calls(function.node, functions) for key, function in functions.items()}
    size: dict[FunctionId, int] = {}
    open_calls: dict[FunctionId, None] = {}  # the path from a root; ordered
    for root in functions:
        stack = [(root, False)]
        while stack:
            key, is_done = stack.pop()
            if is_done:
                own, called = calls[key]
                total = own + sum(size[inner] * count for inner, count in called.items())
                size[key] = min(total, budget.max_function_expansion + 1)
                del open_calls[key]
            elif key not in size:
                if key in open_calls:
                    raise ModelError(f"recursive function {shown(key[1])}: it calls itself")
                open_calls[key] = None
                stack.append((key, True))
                for inner in calls[key][1]:
                    if inner in open_calls:
                        raise ModelError(f"recursive function {shown(inner[1])}: it calls itself")
                    stack.append((inner, False))
    own, called = _calls(graph.node, functions)
    total = own + sum(size[inner] * count for inner, count in called.items())
    if total > budget.max_function_expansion:
        raise ModelError(
            f"function expansion > {budget.max_function_expansion:g} nodes; inline the functions "
            "at export, or raise max_function_expansion"
        )


def _calls(
    nodes: Sequence[NodeProto], functions: Mapping[FunctionId, FunctionProto]
) -> tuple[int, dict[FunctionId, int]]:
    """Nodes, with those in bodies, that call no function; and how often which is called."""
    num_nodes, called = 0, dict[FunctionId, int]()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        key = function_id(node)
        if key in functions:
            called[key] = called.get(key, 0) + 1
        else:
            num_nodes += 1
        for body in bodies(node):
            stack.extend(body.node)
    return num_nodes, called


class _Validator:
    """Walks the graphs of one model (or one function), with the opsets that hold there."""

    def __init__(
        self,
        reader: TensorReader,
        functions: Mapping[FunctionId, FunctionProto],
        versions: Mapping[str, int],
        budget: Budget,
        custom_domains: Collection[str],
    ) -> None:
        self._reader = reader
        self._functions = functions
        self._versions = versions
        self._budget = budget
        self._custom_domains = custom_domains
        self._num_nodes = 0

    def main(self, graph: GraphProto, payloads: Mapping[str, Payloads]) -> None:
        """The main graph; its names are checked by `resolve`."""
        self._graph(graph, Values(self._reader, payloads=payloads))

    def function(self, function: FunctionProto) -> None:
        """A function's nodes and names."""
        values = Values(self._reader)
        for i, node in enumerate(function.node):
            self._node(node, i, values, in_function=True)
        for name in (*function.input, *function.output):
            check_name(name, f"parameter of function {shown(function.name)}", self._budget)
        scope = resolve_nodes(function.node, set(function.input), function.output, self._budget)
        if scope.free:
            raise ModelError(
                f"function {shown(function.name)} reads {shown(scope.free[0])}, which it does not "
                "make"
            )

    def _graph(self, graph: GraphProto, values: Values, in_function: bool = False) -> None:
        for value in (*graph.input, *graph.output, *graph.value_info):
            _check_value_info(value)
        for value in graph.input:
            values.known[value.name] = _known_of(value.type)
        for tensor in graph.initializer:
            self._tensor(tensor, tensor.name, f"initializer {shown(tensor.name)}", values)
            # Not what an input of this name declares: the values win.
            values.add_tensor(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            self._reader.check_sparse(sparse, f"sparse initializer {shown(name)}")
            values.known[name] = Known(sparse.values.data_type, tuple(sparse.dims))
        for i, node in enumerate(graph.node):
            self._node(node, i, values, in_function)

    def _tensor(self, tensor: TensorProto, name: str, what: str, values: Values) -> None:
        """The tensor of a constant; `name` is the value's."""
        payloads = values.payloads.get(name, ())
        if len(payloads) > 1:
            raise ModelError(f"{what}: two value fields; keep one")
        self._reader.check(tensor, what, payloads[0] if payloads else None)

    def _node(self, node: NodeProto, index: int, values: Values, in_function: bool) -> None:
        self._num_nodes += 1
        if self._num_nodes > self._budget.max_nodes:
            raise ModelError(f"more than {self._budget.max_nodes} nodes, the budget")
        for text, what in ((node.name, "node name"), (node.op_type, "operator")):
            check_name(text, what, self._budget)
        label = node_label(node, index)
        self._attributes(node, label, values, in_function)
        if function_id(node) in self._functions:
            self._call(node, label)
            return
        domain = normal_domain(node.domain)
        version = self._version(node, domain, label)
        view = NodeView(node, label, version, values, self._budget)
        if domain in self._custom_domains or not self._is_checked(node, domain, version, label):
            return
        schema = find_schema(node.op_type, domain, version)
        if schema is None:
            raise self._unknown(node, domain, version, label)
        _check_signature(view, schema)
        _check_types(view, schema)
        if domain == ONNX_DOMAIN:
            check_rules(view)
        if node.op_type == "Constant" and node.output:
            _add_constant(node, values)

    def _attributes(self, node: NodeProto, label: str, values: Values, in_function: bool) -> None:
        seen: set[str] = set()
        for attribute in node.attribute:
            name = attribute.name
            try:
                check_name(name, "attribute", self._budget)
                if name in seen or not name:
                    raise ModelError("given twice" if name else "an attribute without a name")
                seen.add(name)
                self._attribute(attribute, node, values, in_function)
            except ModelError as error:
                if error.node is not None:  # from a node of a body: nearer to the fault
                    raise
                raise ModelError(
                    error.reason, node=label, op=node.op_type, attribute=shown(name)[1:-1]
                ) from None

    def _attribute(
        self, attribute: AttributeProto, node: NodeProto, values: Values, in_function: bool
    ) -> None:
        field = _ATTRIBUTE_FIELDS.get(attribute.type)
        if attribute.ref_attr_name:
            if not in_function:
                raise ModelError("refers to a function's attribute outside of a function")
            return
        if field is None:
            raise ModelError(f"kind {attribute.type} is not supported")
        given = [part.name for part, _ in attribute.ListFields() if part.name in _VALUE_FIELDS]
        if any(name != field for name in given):
            raise ModelError(f"it is of kind {field!r}, but holds {given}")
        if field == "t":
            is_constant = node.op_type == "Constant" and len(node.output) > 0
            self._tensor(attribute.t, node.output[0] if is_constant else "", "tensor", values)
        elif field == "sparse_tensor":
            self._reader.check_sparse(attribute.sparse_tensor, "sparse tensor")
        elif field == "g":
            self._graph(attribute.g, Values(self._reader, values), in_function)

    def _call(self, node: NodeProto, label: str) -> None:
        function = self._functions[function_id(node)]
        for kind, given, formal in (
            ("inputs", node.input, function.input),
            ("outputs", node.output, function.output),
        ):
            if len(given) > len(formal):
                raise ModelError(
                    f"{len(given)} {kind}, the function has {len(formal)}",
                    node=label,
                    op=node.op_type,
                )

    def _version(self, node: NodeProto, domain: str, label: str) -> int:
        version = self._versions.get(domain)
        if version is None and domain not in self._custom_domains:
            raise ModelError(
                f"domain {shown(domain)} has no opset_import", node=label, op=shown(node.op_type)
            )
        return version or 1

    def _is_checked(self, node: NodeProto, domain: str, version: int, label: str) -> bool:
        """True when ONNX has a schema to check against; raises for what nobody knows."""
        if domain == CONTRIB_DOMAIN and node.op_type in CONTRIB_OPS:
            return False
        if domain == ONNX_DOMAIN and node.op_type in RUNTIME_OPS:
            return False
        if domain not in (ONNX_DOMAIN, ML_DOMAIN) or version > _NEWEST[domain]:
            raise self._unknown(node, domain, version, label)
        return True

    def _unknown(self, node: NodeProto, domain: str, version: int, label: str) -> ModelError:
        op = node.op_type or ""
        if domain not in _NEWEST:
            known = ", ".join(repr(name or "ai.onnx") for name in _NEWEST)
            return ModelError(
                f"unknown domain {shown(domain)}, opset {version}; known are {known}, and those of "
                "registered custom operators",
                node=label,
                op=shown(op)[1:-1],
            )
        other = find_other_domain(op)
        hint = f"; domain {other or 'ai.onnx'!r} has one" if other not in (None, domain) else ""
        return ModelError(
            f"unknown operator {shown(op)} in domain {domain or 'ai.onnx'!r}, opset {version}"
            + hint,
            node=label,
            op=shown(op)[1:-1],
        )


_VALUE_FIELDS = frozenset(_ATTRIBUTE_FIELDS.values()) | {
    "tensors", "graphs", "sparse_tensors", "type_protos",
}  # fmt: skip


def _check_value_info(value: ValueInfoProto) -> None:
    """Element types that exist, dimensions that can be; -1 is taken as unknown."""
    kind = value.type.WhichOneof("value")
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return
    tensor = getattr(value.type, kind)
    if tensor.elem_type and not is_known_type(tensor.elem_type):
        raise ModelError(f"value {shown(value.name)}: unknown element type {tensor.elem_type}")
    if len(tensor.shape.dim) > MAX_RANK:
        raise ModelError(f"value {shown(value.name)}: {len(tensor.shape.dim)} dimensions")
    for dim in tensor.shape.dim:
        if dim.dim_value < -1:
            raise ModelError(f"value {shown(value.name)}: negative dimension {dim.dim_value}")
        if not isinstance(dim.dim_param, str):
            raise ModelError(f"value {shown(value.name)}: a dimension's name is not valid UTF-8")


def _known_of(declared: TypeProto) -> Known:
    if declared.WhichOneof("value") != "tensor_type":
        return Known(0, None)
    tensor = declared.tensor_type
    if not tensor.HasField("shape"):
        return Known(tensor.elem_type, None)
    dims = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None
        for dim in tensor.shape.dim
    )
    return Known(tensor.elem_type, dims)


def _check_signature(view: NodeView, schema: OpSchema) -> None:
    """Numbers of inputs and outputs, and the attributes' names and kinds."""
    node = view.node
    for kind, count, low, high in (
        ("inputs", len(node.input), schema.min_inputs, schema.max_inputs),
        ("outputs", len(node.output), schema.min_outputs, schema.max_outputs),
    ):
        if not low <= count <= high:
            upper = "or more" if high > 1 << 20 else f"to {high}"
            raise view.error(f"{count} {kind}, expected {low} {upper}")
    for i, name in enumerate(node.input):
        parameter = schema.parameter(i)
        if not name and parameter is not None and not parameter.is_optional:
            raise view.error(f"input {i} is required, but absent")
    for attribute in node.attribute:
        wanted = schema.attributes.get(attribute.name)
        if wanted is None:
            known = ", ".join(sorted(schema.attributes)) or "none"
            raise view.error(f"unknown attribute; known are {known}", attribute.name)
        if wanted != attribute.type:
            raise view.error(
                f"of kind {_kind_name(attribute.type)}, expected {_kind_name(wanted)}",
                attribute.name,
            )
    for name in schema.required:
        if not view.has(name):
            raise view.error("required, but not given", name)


def _check_types(view: NodeView, schema: OpSchema) -> None:
    """Element types that are certain: allowed, and equal where the schema wants it."""
    bound: dict[str, int] = {}
    for i in range(len(view.node.input)):
        known, parameter = view.known(i), schema.parameter(i)
        if known is None or not known.elem_type or parameter is None:
            continue
        name = f"tensor({type_name(known.elem_type)})"
        if name not in parameter.types:
            raise view.error(
                f"input {i} is {name}, expected {', '.join(sorted(parameter.types)[:12])}"
            )
        if not parameter.is_homogeneous:
            continue
        first = bound.setdefault(parameter.type_name, known.elem_type)
        if first != known.elem_type:
            raise view.error(
                f"input {i} is {name}, an earlier one tensor({type_name(first)}); "
                "both must have one type"
            )


def _add_constant(node: NodeProto, values: Values) -> None:
    """Make a Constant node's value known."""
    name = node.output[0]
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.type == AttributeProto.TENSOR:
            values.add_tensor(name, attribute.t)
        elif attribute.name in ("value_int", "value_ints"):
            ints = attribute.ints if attribute.name == "value_ints" else attribute.i
            values.add_array(name, np.array(ints, np.int64), TensorProto.INT64)
        elif attribute.name in ("value_float", "value_floats"):
            floats = attribute.floats if attribute.name == "value_floats" else attribute.f
            values.add_array(name, np.array(floats, np.float32), TensorProto.FLOAT)


def _kind_name(kind: int) -> str:
    return str(AttributeProto.AttributeType.Name(kind))
