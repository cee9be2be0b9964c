"""Output types of ONNX Runtime's own operators, as far as the compiler knows them natively."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from colonnade.ir import Node, TensorType
from colonnade.onnx.contrib_quantized import infer_quantized
from colonnade.onnx.contrib_recurrent import infer_dynamic_lstm
from colonnade.onnx.infer import infer_node

_LIKE_FIRST: dict[tuple[str, str], tuple[int, ...]] = {
    ("", "SimplifiedLayerNormalization"): (0,),
    ("com.microsoft", "SkipLayerNormalization"): (0, 3),
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): (0, 3),
    ("com.microsoft", "Gelu"): (0,),
    ("com.microsoft", "FastGelu"): (0,),
    ("com.microsoft", "QuickGelu"): (0,),
    ("com.microsoft", "BiasGelu"): (0,),
}
"""Outputs that are typed and shaped like the first input."""


def infer_any_node(
    node: Node,
    input_types: Mapping[str, TensorType],
    input_values: Mapping[str, np.ndarray],
    opset: int,
) -> Mapping[str, TensorType]:
    """As `infer_node`, for the operators above too."""
    key = (node.domain, node.op)
    first = input_types.get(node.inputs[0]) if node.inputs else None
    if key in _LIKE_FIRST and first is not None:
        count = len(node.outputs)
        return {node.outputs[i]: first for i in _LIKE_FIRST[key] if i < count and node.outputs[i]}
    if key == ("com.microsoft", "MultiHeadAttention"):
        return _attention_type(node, input_types)
    if key == ("com.microsoft", "DynamicQuantizeLSTM"):
        return infer_dynamic_lstm(node, input_types, input_values)
    quantized = infer_quantized(node, input_types, input_values)
    return infer_node(node, input_types, input_values, opset) if quantized is None else quantized


def _attention_type(node: Node, input_types: Mapping[str, TensorType]) -> Mapping[str, TensorType]:
    """Queries' batch and length, features of the values; three axes only."""
    operands = [input_types.get(value) for value in node.inputs[:3]]
    q, _, v = operands if len(operands) == 3 else (None, None, None)
    if q is None or v is None or q.shape is None or v.shape is None:
        return {}
    if len(q.shape) != 3 or len(v.shape) != 3:
        return {}
    return {node.outputs[0]: TensorType(q.dtype, (*q.shape[:2], v.shape[2]))}
