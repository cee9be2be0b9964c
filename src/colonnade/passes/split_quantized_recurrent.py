"""Recurrent layers whose weights and hidden state are 8-bit integers.

Two forms become a product over all steps (QLinear, or MatMul of a float32 input) and
colonnade.QRecurrent (reference/quantized_recurrent.py):

- com.microsoft.DynamicQuantizeLSTM, ONNX Runtime's quantize_dynamic: input and state are quantized
  by what they are;
- LSTM, GRU or RNN whose W and R are DequantizeLinear of 8-bit constants, with the attribute
  `colonnade.state` (metadata in a file): "uint8 <scale> <zero point>" of the hidden state. Without
  the attribute the state is float32, and nothing is done here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from colonnade.errors import ModelError
from colonnade.ir import BYTE_DEPTH_MAX, DType, Graph, Node, Patch, is_static
from colonnade.passes.construction import OPSET, Construction
from colonnade.passes.quantization import (
    Weights,
    add_operand,
    add_weighted_product,
    find_dequantized,
    make_weights,
)
from colonnade.passes.quantized_constants import EIGHT_BITS
from colonnade.passes.split_recurrent import GATES, STATE, RecurrentSplit, usual_activation

_NUM_INPUTS, _NUM_DYNAMIC_INPUTS = 8, 12
_X, _W, _R, _B = range(4)


@dataclass(frozen=True)
class _Rows:
    """Integers [directions, rows, k]; scale and zero point [directions or 1, rows or 1]."""

    array: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    def weights(self) -> Weights:
        """[directions * rows, k]"""
        directions, rows, depth = self.array.shape
        scale, zero = (
            np.broadcast_to(a, (directions, rows)).reshape(-1) for a in (self.scale, self.zero)
        )
        return make_weights(self.array.reshape(directions * rows, depth), scale, zero)


@dataclass(frozen=True)
class _Layer:
    """A quantized layer: the float32 operator it stands for, and its integers."""

    node: Node
    source: Node
    """The node that it replaces."""
    w: Weights
    """[directions * G * hidden, features]"""
    r: np.ndarray
    """int8 [directions, hidden, G * hidden]"""
    r_scale: np.ndarray
    """float32 [directions, G * hidden]"""
    state: tuple[float, int] | None
    """Scale and zero point; None: measured at each step."""


def split_quantized_recurrent(graph: Graph) -> Iterator[Patch]:
    """Static shapes, constant weights of zero point 0 for the state, the usual activations."""
    for node in graph.nodes:
        layer = _read_dynamic(graph, node) or _read_static(graph, node)
        if layer is not None and _is_usual(graph, layer.node):
            yield _split(graph, layer)


def _is_usual(graph: Graph, node: Node) -> bool:
    inputs = (*node.inputs, *("",) * (_NUM_INPUTS - len(node.inputs)))
    others = (value for i, value in enumerate(inputs) if i not in (_W, _R, 4))
    for value in filter(None, (*others, *node.outputs)):
        if graph.dtype(value) is not DType.FLOAT32 or not is_static(graph.shape(value)):
            return False
    if 0 in (graph.shape(inputs[_X]) or ()) or (inputs[_B] and inputs[_B] not in graph.constants):
        return False
    return usual_activation(node) is not None


def _read_dynamic(graph: Graph, node: Node) -> _Layer | None:
    if (node.domain, node.op) != ("com.microsoft", "DynamicQuantizeLSTM"):
        return None
    if node.attrs.get("layout", 0):
        return None
    inputs = (*node.inputs, *("",) * (_NUM_DYNAMIC_INPUTS - len(node.inputs)))
    w, r = (
        _transposed(graph, inputs[_W], *inputs[8:10]),
        _transposed(graph, inputs[_R], *inputs[10:]),
    )
    real = replace(node, op="LSTM", domain="", inputs=inputs[:_NUM_INPUTS])
    return _layer(real, node, w, r, None)


def _transposed(graph: Graph, value: str, scale: str, zero: str) -> _Rows | None:
    """[directions, rows, k] of constants [directions, k, rows], with a scale a direction or row."""
    array, scales, zeros = (graph.constants.get(name) for name in (value, scale, zero))
    if array is None or scales is None or zeros is None:
        return None
    if array.ndim != 3 or graph.dtype(value) not in EIGHT_BITS or zeros.dtype != array.dtype:
        return None
    if any(a.shape not in ((len(array),), array.shape[::2]) for a in (scales, zeros)):
        return None
    along = (len(array), -1)
    return _Rows(array.transpose(0, 2, 1), scales.reshape(along), zeros.reshape(along))


def _read_static(graph: Graph, node: Node) -> _Layer | None:
    if node.domain or node.op not in GATES or STATE not in node.attrs:
        return None
    w, r = (_dequantized(graph, node.inputs[i]) for i in (_W, _R))
    plain = {name: value for name, value in node.attrs.items() if name != STATE}
    return _layer(replace(node, attrs=plain), node, w, r, read_state(node))


def _dequantized(graph: Graph, value: str) -> _Rows | None:
    source = find_dequantized(graph, value)
    if source is None or source.axis not in (None, 1):
        return None
    array, scale = (graph.constants.get(name) for name in (source.value, source.scale))
    if array is None or scale is None or array.ndim != 3:
        return None
    zero = graph.constants.get(source.zero) if source.zero else np.zeros((), array.dtype)
    if zero is None:
        return None
    return _Rows(array, scale.reshape(1, -1), zero.reshape(1, -1))


def _layer(
    node: Node, source: Node, w: _Rows | None, r: _Rows | None, state: tuple[float, int] | None
) -> _Layer | None:
    if w is None or r is None or 0 in w.array.shape or r.array.shape[2] > BYTE_DEPTH_MAX:
        return None
    weights, recurrent = w.weights(), r.weights()
    if recurrent.zero.any():
        return None
    packed = recurrent.array.reshape(r.array.shape).transpose(0, 2, 1)
    scale = np.broadcast_to(recurrent.scale, r.array.shape[0] * r.array.shape[1])
    return _Layer(
        node, source, weights, np.ascontiguousarray(packed), scale.reshape(r.array.shape[:2]), state
    )


def read_state(node: Node) -> tuple[float, int]:
    """Scale and zero point of the hidden state. Raises ModelError for any other text."""
    words = str(node.attrs.get(STATE)).split()
    try:
        kind, scale, zero = words[0], np.float32(words[1]), int(words[2])
        if len(words) == 3 and kind == "uint8" and 0 < scale < np.inf and 0 <= zero <= 255:
            return float(scale), zero
    except (IndexError, ValueError):
        pass
    raise ModelError(
        f'metadata {STATE!r} is {node.attrs.get(STATE)!r}; expected "uint8 <scale> <zero point>", '
        'such as "uint8 0.0078125 128"; correct or remove it', node=node.name, op=node.op,
    )  # fmt: skip


def _split(graph: Graph, layer: _Layer) -> Patch:
    split = RecurrentSplit(graph, layer.node, layer.source)
    made = split.made
    r, r_scale = made.constant(layer.r), made.constant(np.ascontiguousarray(layer.r_scale))
    state = () if layer.state is None else _state_operands(made, layer.state)
    gates = _gates(graph, layer, split)
    return split.loop("QRecurrent", (gates, r, r_scale), state)


def _state_operands(made: Construction, state: tuple[float, int]) -> tuple[str, str]:
    return made.number(state[0]), made.constant(np.array(state[1], np.uint8))


def _gates(graph: Graph, layer: _Layer, split: RecurrentSplit) -> str:
    """x W^T + bias for every step and direction."""
    made, x = split.made, layer.node.inputs[_X]
    source = find_dequantized(graph, x) if layer.state is not None else None
    shape = (*made.shape(x)[:-1], len(layer.w.array))
    if source is not None and source.axis is None:
        operand = (source.value, *add_operand(made, source, graph.dtype(source.value)))
    elif layer.state is None:
        operand = _measured(made, x, f"{_name(layer.node)}/x")
    else:
        weights = made.constant(_real(layer.w))
        product = made.call("MatMul", (x, weights), shape)
        return made.arithmetic("Add", product, bias) if (bias := split.bias()) else product
    out = f"{_name(layer.node)}/gates"
    made.declare(out, DType.FLOAT32, shape)
    bias = split.bias()
    add_weighted_product(
        made, replace(layer.node, outputs=(out,), name=out), operand, layer.w,
        made.array(bias) if bias else None,
    )  # fmt: skip
    return out


def _name(node: Node) -> str:
    return next(out for out in node.outputs if out)


def _measured(made: Construction, x: str, prefix: str) -> tuple[str, str, str]:
    """x by DynamicQuantizeLinear: integers, scale, zero point."""
    outputs = (prefix, f"{prefix}/scale", f"{prefix}/zero")
    for value, dtype, shape in zip(
        outputs, (DType.UINT8, DType.FLOAT32, DType.UINT8), (made.shape(x), (), ()), strict=True
    ):
        made.declare(value, dtype, shape)
    made.add(Node("DynamicQuantizeLinear", (x,), outputs, {}, prefix, "", OPSET))
    return outputs


def _real(w: Weights) -> np.ndarray:
    """[features, rows] in float32."""
    scale, zero = (np.broadcast_to(a, len(w.array))[:, None] for a in (w.scale, w.zero))
    centred = w.array.astype(np.int32) - zero.astype(np.int32)
    return np.ascontiguousarray((centred.astype(np.float32) * scale).T)
