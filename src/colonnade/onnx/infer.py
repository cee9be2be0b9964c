"""infer_node(): the output types of one node, by onnx's own shape inference.

The rules of import are applied again: with a graph bound to input shapes they see more.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import onnx
from onnx import NodeProto, OperatorSetIdProto, TensorProto, TypeProto, shape_inference
from onnx.checker import ValidationError

from colonnade.errors import ModelError
from colonnade.ir import DType, Node, Subgraph, TensorType, is_static
from colonnade.onnx import attributes
from colonnade.onnx.budget import Budget
from colonnade.onnx.node_view import Known, KnownShape, NodeView, Values
from colonnade.onnx.rules import check_rules
from colonnade.onnx.schemas import ML_DOMAIN, ONNX_DOMAIN, OpSchema, find_schema
from colonnade.onnx.tensors import elem_type_of, format_bytes
from colonnade.onnx.types import from_type_proto, to_type_proto

_BUDGET = Budget()
_NO_TYPE = TypeProto()

_FAILURES = (
    shape_inference.InferenceError, RuntimeError, ValueError, IndexError, MemoryError,
    OverflowError,
)  # fmt: skip
"""What onnx raises from C++ for a node that does not fit, or that it did not expect."""


def infer_node(
    node: Node,
    input_types: Mapping[str, TensorType],
    input_values: Mapping[str, np.ndarray],
    opset: int,
) -> dict[str, TensorType]:
    """Types of the node's outputs, by name; nothing for what onnx does not know.

    `input_values`: constant inputs, for operators whose output shape depends on values. Raises
    ModelError when known inputs do not fit the operator, or an output is above the budget.
    """
    schema = find_schema(node.op, node.domain, opset) if node.domain in _INFERRED else None
    if schema is None or any(isinstance(value, Subgraph) for value in node.attrs.values()):
        return {}  # what a body captures is not known here; import typed its outputs
    proto = _to_proto(node, schema)
    known = {name: input_types.get(name) for name in node.inputs if name}
    if node.domain == ONNX_DOMAIN:
        check_rules(_view(node, proto, known, input_values, opset))
    try:
        found = shape_inference.infer_node_outputs(
            schema.definition,
            proto,
            {name: to_type_proto(type_) if type_ else _NO_TYPE for name, type_ in known.items()},
            {name: _to_tensor(input_values[name]) for name in known if name in input_values},
            opset_imports=_imports(node.domain, opset),
        )
    except ValidationError as error:  # whatever the types: a node that no types would suit
        raise ModelError(_reason(error), node=node.name, op=node.op) from error
    except _FAILURES as error:
        if all(_is_certain(type_) for type_ in known.values()):
            raise ModelError(_reason(error), node=node.name, op=node.op) from error
        return {}
    made = {name: from_type_proto(type_) for name, type_ in found.items()}
    for type_ in made.values():
        _check_output(node, type_)
    return made


_INFERRED = (ONNX_DOMAIN, ML_DOMAIN)


def _to_proto(node: Node, schema: OpSchema) -> NodeProto:
    made = NodeProto(op_type=node.op, domain=node.domain, input=node.inputs, output=node.outputs)
    attributes.add_attributes(made, node.attrs, schema)
    return made


def _view(
    node: Node,
    proto: NodeProto,
    types: Mapping[str, TensorType | None],
    values: Mapping[str, np.ndarray],
    opset: int,
) -> NodeView:
    known = {
        name: Known(elem_type_of(type_.dtype), _known_shape(type_))
        for name, type_ in types.items()
        if type_ is not None
    }
    scope = Values(None, known=known, tensors=dict(values))
    return NodeView(proto, node.name, opset, scope, _BUDGET)


def _known_shape(type_: TensorType) -> KnownShape | None:
    if type_.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else None for dim in type_.shape)


def _to_tensor(array: np.ndarray) -> TensorProto:
    return onnx.numpy_helper.from_array(array)


@lru_cache(maxsize=64)
def _imports(domain: str, opset: int) -> list[OperatorSetIdProto]:
    return [OperatorSetIdProto(domain=domain, version=opset)]


def _is_certain(known: TensorType | None) -> bool:
    """True when nothing is missing, so that a refusal is the model's fault."""
    return known is not None and known.dtype is not DType.OTHER and is_static(known.shape)


def _check_output(node: Node, type_: TensorType) -> None:
    if not is_static(type_.shape):
        return
    if any(dim < 0 for dim in type_.shape):
        raise ModelError(
            f"its output would have the negative shape {list(type_.shape)}; the input is too small",
            node=node.name,
            op=node.op,
        )
    num_bytes = type_.dtype.itemsize
    for dim in type_.shape:
        num_bytes *= dim
    if num_bytes > _BUDGET.max_tensor_bytes:
        raise ModelError(
            f"its output of shape {list(type_.shape)} needs {format_bytes(num_bytes)}, "
            f"budget {format_bytes(_BUDGET.max_tensor_bytes)}",
            node=node.name,
            op=node.op,
        )


def _reason(error: Exception) -> str:
    """onnx's message without its prefix."""
    text = str(error).strip().partition("\n")[0]
    return text.replace("[ShapeInferenceError] ", "").replace("[TypeInferenceError] ", "")[:300]
