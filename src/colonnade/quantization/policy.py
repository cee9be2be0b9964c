"""How each operator is quantized: one table, plain data.

What the table does not name stays float32 and is not worth a line in the report: it is cheap, or it
has no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from colonnade.ir import BYTE_DEPTH_MAX, DType, Graph, Node
from colonnade.passes.split_recurrent import usual_activation

Kind = Literal["product", "sum", "shared", "float32"]
"""product: 8-bit input and weights. sum: two 8-bit inputs and output. shared: moves or selects what
is 8-bit already, so that input and output have one scale. float32: never quantized."""


@dataclass(frozen=True)
class Weights:
    """Constant weights of a product: their value, the axis of output features, the bias or ""."""

    value: str
    axis: int
    bias: str = ""
    is_recurrent: bool = False
    """`value` is W; R goes with it, the bias stays float32."""


@dataclass(frozen=True)
class Rule:
    """How an operator is quantized."""

    kind: Kind
    find_weights: Callable[[Graph, Node], Weights | str] | None = None
    """Of a product; a string says why this node stays in float32."""
    all_inputs: bool = False
    """Of a shared operator: every input is data, not the first one only."""
    check: Callable[[Graph, Node], str] | None = None
    """A reason for which this node stays in float32, or ""."""
    why: str = ""
    """Why the operator stays in float32."""


def key_of(node: Node) -> str:
    """What a node goes by: its first output that has a name, as recurrent layers may leave some out."""
    return next(filter(None, node.outputs), "")


def find_rule(node: Node) -> Rule | None:
    """The rule of a node, if its operator has one."""
    return None if node.domain else RULES.get(node.op)


def _conv(graph: Graph, node: Node) -> Weights | str:
    return _weights(graph, node, 0)


def _gemm(graph: Graph, node: Node) -> Weights | str:
    for name, wanted in (("transA", 0), ("alpha", 1.0), ("beta", 1.0)):
        if node.attrs.get(name, wanted) != wanted:
            return f"{name} is {node.attrs[name]!r}; 8-bit products have {wanted}"
    return _weights(graph, node, 0 if node.attrs.get("transB", 0) else 1)


def _matmul(graph: Graph, node: Node) -> Weights | str:
    if node.inputs[1] not in graph.constants:
        is_left = node.inputs[0] in graph.constants
        return "its weights are the left operand" if is_left else "a product of two activations"
    if graph.constants[node.inputs[1]].ndim != 2 or len(graph.shape(node.inputs[0]) or ()) < 2:
        return "not a matrix by a matrix of weights"
    return _weights(graph, node, 1)


def _recurrent(graph: Graph, node: Node) -> Weights | str:
    if usual_activation(node) != "tanh":
        return "its activations do not keep the state in [-1, 1]"
    for value in node.inputs[1:3]:
        if reason := _array_reason(graph, node, value):
            return reason
    if graph.constants[node.inputs[2]].shape[2] > BYTE_DEPTH_MAX:
        return f"more than {BYTE_DEPTH_MAX} hidden units"
    _, _, _, bias, _, state, *_ = (*node.inputs, *("",) * 3)
    if bias and bias not in graph.constants:
        return "its bias is not constant"
    if np.abs(graph.constants.get(state, np.zeros(1))).max(initial=0) > 1:
        return "its initial state lies outside [-1, 1]"
    return Weights(node.inputs[1], 1, is_recurrent=True)


def _weights(graph: Graph, node: Node, axis: int) -> Weights | str:
    value = node.inputs[1]
    if reason := _array_reason(graph, node, value):
        return reason
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    reason = _bias_reason(graph, bias, graph.constants[value].shape[axis]) if bias else ""
    return reason or Weights(value, axis, bias)


def _array_reason(graph: Graph, node: Node, value: str) -> str:
    """Why weights cannot be quantized; "" if they can."""
    array = graph.constants.get(value)
    if array is None:
        return "its weights are not constant"
    if graph.dtype(node.inputs[0]) is not DType.FLOAT32 or array.dtype != np.float32:
        return f"its type is {graph.dtype(node.inputs[0]).value}"
    if array.size == 0 or not np.isfinite(array).all():
        return "its weights are empty or not finite"
    return ""


def _bias_reason(graph: Graph, bias: str, features: int) -> str:
    array = graph.constants.get(bias)
    if array is None:
        return "its bias is not constant"
    if array.size != 1 and (array.size, array.shape[-1]) != (features, features):
        return (
            f"its bias has shape {list(array.shape)}, not a value for each of {features} features"
        )
    return "" if np.isfinite(array).all() else "its bias is not finite"


def _same_shapes(graph: Graph, node: Node) -> str:
    shapes = [graph.shape(value) for value in node.inputs]
    if any(value in graph.constants for value in node.inputs):
        return "adds a constant"
    if shapes[0] is None or shapes[0] != shapes[1] or None in shapes[0]:
        return "its operands are not known to have one shape"
    return ""


def _zero_padding(graph: Graph, node: Node) -> str:
    if node.attrs.get("mode", "constant") != "constant":
        return ""
    value = node.inputs[2] if len(node.inputs) > 2 else ""
    if value and (value not in graph.constants or graph.constants[value].any()):
        return "pads with another value than zero"
    return ""


def _single_output(_: Graph, node: Node) -> str:
    return "its indices are read" if any(node.outputs[1:]) else ""


_MOVE = Rule("shared")
_RECURRENT = Rule("product", _recurrent)

RULES: Mapping[str, Rule] = {
    "Conv": Rule("product", _conv),
    "Gemm": Rule("product", _gemm),
    "MatMul": Rule("product", _matmul),
    "Add": Rule("sum", check=_same_shapes),
    "Concat": Rule("shared", all_inputs=True),
    "MaxPool": Rule("shared", check=_single_output),
    "AveragePool": Rule("shared"),
    "GlobalAveragePool": Rule("shared"),
    "Pad": Rule("shared", check=_zero_padding),
    **dict.fromkeys(
        ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather",
         "Expand", "Tile", "DepthToSpace", "SpaceToDepth"), _MOVE,
    ),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _RECURRENT),
    "ConvTranspose": Rule("float32", why="no 8-bit kernel for transposed convolutions"),
    "DeformConv": Rule("float32", why="no 8-bit kernel"),
    "Einsum": Rule("float32", why="no 8-bit kernel"),
    "Attention": Rule("float32", why="products of two activations"),
}  # fmt: skip

ACTIVATIONS = ("Relu", "Clip")
"""What QuantizeLinear does itself by saturating: the range is taken behind them."""


def passes_range(graph: Graph, node: Node) -> bool:
    """True for an activation whose bounds QuantizeLinear can take over."""
    return not node.domain and node.op in ACTIVATIONS and node.inputs[0] not in graph.constants


def biased(graph: Graph, node: Node) -> str | None:
    """The value that a constant is added to; None for another node."""
    if node.domain or node.op != "Add":
        return None
    others = [value for value in node.inputs if value not in graph.constants]
    return others[0] if len(others) == 1 else None


def opset_of(graph: Graph) -> int:
    """The version of the standard operators."""
    return graph.opsets.get("", 0)
