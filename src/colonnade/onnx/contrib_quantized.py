"""Output types of ONNX Runtime's own operators on 8 bits: those of the float32 operator they stand for.

Their scales are checked here: ONNX Runtime computes with whatever they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from colonnade.errors import ModelError
from colonnade.ir import DType, Node, TensorType
from colonnade.onnx.infer import infer_node

CONTRIB = "com.microsoft"

Types = Mapping[str, TensorType]


@dataclass(frozen=True)
class _Form:
    """The operator whose shape rule holds, the data among the inputs, and all scales."""

    op: str
    data: Sequence[int]
    scales: Sequence[int]
    zero: int | None
    """Zero point of the output, whose type it has; float32 when there is none."""
    attrs: Sequence[str] = ()
    version: int = 21


_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
_FORMS = {
    "QLinearAdd": _Form("Add", (0, 3), (1, 4, 6), 7),
    "QLinearMul": _Form("Mul", (0, 3), (1, 4, 6), 7),
    "QLinearSigmoid": _Form("Sigmoid", (0,), (1, 3), 4),
    "QLinearLeakyRelu": _Form("LeakyRelu", (0,), (1, 3), 4),
    "QLinearSoftmax": _Form("Softmax", (0,), (1, 3), 4),
    "QLinearGlobalAveragePool": _Form("GlobalAveragePool", (0,), (1, 3), 4),
    "QLinearAveragePool": _Form("AveragePool", (0,), (1, 3), 4, _POOL),
    "QLinearReduceMean": _Form("ReduceMean", (0,), (1, 3), 4, ("axes", "keepdims"), 13),
    "QLinearWhere": _Form("Where", (0, 1, 4), (2, 5, 7), 8),
    "QGemm": _Form("Gemm", (0, 3), (1, 4, 7), 8, ("transA", "transB")),
    "MatMulIntegerToFloat": _Form("MatMul", (0, 1), (2, 3), None),
    "DynamicQuantizeMatMul": _Form("MatMul", (0, 1), (2,), None),
    "QuantizeLinear": _Form("Identity", (0,), (1,), 2),
    "DequantizeLinear": _Form("Identity", (0,), (1,), None),
}


def infer_quantized(node: Node, types: Types, values: Mapping[str, np.ndarray]) -> Types | None:
    """Types of the outputs; None for an operator that is not here, or stays unknown.

    Raises ModelError for a constant scale that is not positive and finite.
    """
    if (node.domain, node.op) == (CONTRIB, "MatMulNBits"):
        return _block_product_type(node, types)
    form = _form(node)
    if node.domain != CONTRIB or form is None or node.attrs.get("channels_last", 0):
        return None
    for number in form.scales:
        check_scale(node, values.get(_input(node, number)))
    made = _real_type(node, form, types)
    if made is None:
        return None
    zero = types.get(_input(node, form.zero)) if form.zero is not None else None
    if zero is None and node.op not in _REAL_WITHOUT_ZERO:
        return None  # the type depends on a zero point that is left out
    return {node.outputs[0]: replace(made, dtype=zero.dtype if zero else DType.FLOAT32)}


_REAL_WITHOUT_ZERO = ("QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DequantizeLinear")


def _form(node: Node) -> _Form | None:
    if node.op == "QLinearConcat":
        data = range(2, len(node.inputs), 3)
        return _Form("Concat", data, (0, *(i + 1 for i in data)), 1, ("axis",))
    return _FORMS.get(node.op)


def _input(node: Node, number: int) -> str:
    return node.inputs[number] if number < len(node.inputs) else ""


def _real_type(node: Node, form: _Form, types: Types) -> TensorType | None:
    """The float32 operator's output for float32 inputs of these shapes."""
    names = [_input(node, number) for number in form.data]
    known = {}
    for name in names:
        found = types.get(name)
        if found is None or found.shape is None:
            return None
        is_condition = found.dtype is DType.BOOL
        known[name] = found if is_condition else replace(found, dtype=DType.FLOAT32)
    attrs = {key: node.attrs[key] for key in form.attrs if key in node.attrs}
    real = Node(form.op, tuple(names), node.outputs[:1], attrs, node.name, "", form.version)
    return infer_node(real, known, {}, form.version).get(node.outputs[0])


def _block_product_type(node: Node, types: Types) -> Types | None:
    """The left operand's type, with N features."""
    left, features = types.get(node.inputs[0]), node.attrs.get("N")
    if left is None or not left.shape or not isinstance(features, int):
        return None
    return {node.outputs[0]: replace(left, shape=(*left.shape[:-1], features))}


def check_scale(node: Node, scale: np.ndarray | None) -> None:
    """Raises ModelError for a constant scale that is not positive and finite."""
    if scale is None or scale.dtype.kind != "f":
        return
    bad = ~(np.isfinite(scale) & (scale > 0))
    if bad.any():
        value = scale[bad].reshape(-1)[0]
        raise ModelError(
            f"scale {value}; it must be positive and finite", node=node.name, op=node.op
        )
