"""find_layers(): the layers of an ONNX graph that can be pruned, and why the others cannot."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from colonnade.ir import DType, Graph, Node, captures

OPS = ("Conv", "Gemm", "MatMul")
"""Operators whose weights one-shot pruning knows."""
_PLACES: Mapping[str, tuple[int, ...]] = {
    "Conv": (1,), "ConvInteger": (1,), "ConvTranspose": (1,), "QLinearConv": (3,),
    "LSTM": (1,), "GRU": (1,), "RNN": (1,),
    "Gemm": (1, 0), "MatMul": (1, 0), "MatMulInteger": (1, 0), "QLinearMatMul": (3, 0),
    "Einsum": (1, 0),
}  # fmt: skip
"""The inputs that may be weights, the usual one first."""
_PRODUCTS = ("MatMul", "MatMulInteger", "QLinearMatMul", "Einsum")
"""Without weights where all their inputs depend on the model's."""


@dataclass(frozen=True)
class Bias:
    """A constant that can take up a shift of the layer's output, with this sign."""

    name: str
    sign: Literal[1, -1]
    """-1 for the mean of a batch normalisation."""


@dataclass(frozen=True)
class Layer:
    """One constant of weights and the nodes that multiply by it."""

    name: str
    """Of the first node, as `name_nodes` has it."""
    nodes: tuple[Node, ...]
    weights: str
    shape: tuple[int, ...]
    """Of the constant."""
    groups: int
    rows: int
    """Outputs of one group."""
    inputs: int
    """Channels that one group reads."""
    taps: int
    """kh * kw of a convolution, otherwise 1."""
    is_transposed: bool
    """The constant is [inputs, outputs]."""
    bias: Bias | None

    @property
    def op(self) -> str:
        """The operator."""
        return self.nodes[0].op

    @property
    def values(self) -> tuple[str, ...]:
        """The values that the layer reads."""
        return tuple(dict.fromkeys(node.inputs[0] for node in self.nodes))

    @property
    def cols(self) -> int:
        """Columns of the matrix of one group."""
        return self.taps * self.inputs

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.groups * self.rows * self.cols

    @property
    def is_depthwise(self) -> bool:
        """Every group reads one channel."""
        return self.groups > 1 and self.inputs == 1

    def to_matrices(self, weights: np.ndarray) -> np.ndarray:
        """[groups, rows, cols]; columns are (tap, channel)."""
        if self.is_transposed:
            return weights.T[None]
        split = weights.reshape(self.groups, self.rows, self.inputs, self.taps)
        return split.transpose(0, 1, 3, 2).reshape(self.groups, self.rows, self.cols)

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """The inverse of `to_matrices`."""
        if self.is_transposed:
            return np.ascontiguousarray(matrices[0].T)
        split = matrices.reshape(self.groups, self.rows, self.taps, self.inputs)
        return np.ascontiguousarray(split.transpose(0, 1, 3, 2)).reshape(self.shape)


def find_layers(graph: Graph, in_file: Collection[str]) -> tuple[list[Layer], dict[str, str]]:
    """Layers in order, and reasons by node name. `in_file`: constants that can be changed."""
    layers: dict[str, Layer] = {}
    refused: dict[str, str] = {}
    for name, node in zip(name_nodes(graph), graph.nodes, strict=True):
        if not weights_of(graph, node):
            continue
        found = _find_layer(graph, node, in_file)
        if isinstance(found, str):
            refused[name] = found
            continue
        bias = found.bias if found.bias is not None and found.bias.name in in_file else None
        found = replace(found, name=name, bias=bias)
        if found.weights not in layers:
            layers[found.weights] = found
        else:
            first = layers[found.weights]
            if replace(found, name=first.name, nodes=first.nodes, bias=first.bias) != first:
                refused[first.name] = refused[name] = "its weights are used in two ways"
            else:
                layers[found.weights] = replace(first, nodes=(*first.nodes, node), bias=None)
    return [layer for layer in layers.values() if layer.name not in refused], refused


def name_nodes(graph: Graph) -> list[str]:
    """A name for each node that no other has: the second "fc" of a graph is "fc#2"."""
    own = {node.name for node in graph.nodes}
    names: dict[str, None] = {}
    for node in graph.nodes:
        name, number = node.name, 1
        while name in names or (number > 1 and name in own):
            number += 1
            name = f"{node.name}#{number}"
        names[name] = None
    return list(names)


def weights_of(graph: Graph, node: Node) -> str:
    """The constant of a node's weights, or the value where the model computes them; "" for a node
    that has none."""
    if node.domain:
        return ""
    if node.op not in _PLACES:
        return next((name for name in captures(node) if _is_matrix(graph, name)), "")
    values = [node.inputs[place] for place in _PLACES[node.op] if place < len(node.inputs)]
    found = next((name for value in values if (name := _stored(graph, value))), "")
    return found or ("" if node.op in _PRODUCTS else values[0])


def _stored(graph: Graph, value: str) -> str:
    """The constant that a value is made of, quantized ones as well; "" for none."""
    while value not in graph.constants:
        maker = graph.producer.get(value)
        if maker is None or maker.op not in ("Identity", "Transpose", "DequantizeLinear"):
            return ""
        value = maker.inputs[0]
    return value


def _is_matrix(graph: Graph, name: str) -> bool:
    array = graph.constants.get(name)
    return array is not None and array.ndim > 1 and graph.dtype(name) is DType.FLOAT32


def _find_layer(graph: Graph, node: Node, in_file: Collection[str]) -> Layer | str:
    if why := _why_unknown(graph, node):
        return why
    weights, is_turned = _constant_of(graph, node.inputs[1])
    if not weights:
        is_left = node.op != "Conv" and _stored(graph, node.inputs[0])
        return f"its weights are {'on the left' if is_left else 'computed by the model'}"
    if weights not in in_file:
        return "its weights are not stored as a plain constant of the file"
    if why := _other_readers(graph, weights):
        return why
    return (
        _conv(graph, node, weights)
        if node.op == "Conv"
        else _linear(graph, node, weights, is_turned)
    )


def _why_unknown(graph: Graph, node: Node) -> str:
    weights = weights_of(graph, node)
    dtype = graph.dtype(weights)
    if node.op not in _PLACES:
        return f"its body reads {weights}; bodies of {node.op} are not pruned"
    if weights in graph.constants and dtype in (DType.INT8, DType.UINT8):
        return f"its weights are {dtype.value} already: prune before you quantize"
    if node.op not in OPS:
        return f"one-shot pruning does not know {node.op}"
    if weights in graph.constants and dtype is not DType.FLOAT32:
        return f"its weights are {dtype.value}, not float32"
    return ""


def _conv(graph: Graph, node: Node, weights: str) -> Layer | str:
    shape = graph.constants[weights].shape
    group = node.attrs.get("group", 1)
    assert isinstance(group, int)
    taps = int(np.prod(shape[2:], dtype=np.int64))
    bias = _conv_bias(graph, node)
    return Layer(
        node.name, (node,), weights, shape, group, shape[0] // group, shape[1], taps, False, bias
    )


def _linear(graph: Graph, node: Node, weights: str, is_turned: bool) -> Layer | str:
    shape = graph.constants[weights].shape
    if len(shape) != 2:
        return f"its weights have {len(shape)} axes, not 2"
    attrs = node.attrs
    if attrs.get("transA", 0) or attrs.get("alpha", 1.0) != 1.0 or attrs.get("beta", 1.0) != 1.0:
        return "a Gemm with transA, alpha or beta"
    # [inputs, outputs] unless exactly one of the two turns it.
    is_transposed = bool(attrs.get("transB", 0)) == is_turned
    rows, inputs = (shape[1], shape[0]) if is_transposed else shape
    bias = _gemm_bias(graph, node, rows) if node.op == "Gemm" else _added_bias(graph, node, rows)
    return Layer(node.name, (node,), weights, shape, 1, rows, inputs, 1, is_transposed, bias)


def _constant_of(graph: Graph, value: str) -> tuple[str, bool]:
    """The constant that a value is, and whether it is transposed on the way; "" for none."""
    is_turned = False
    while value not in graph.constants:
        maker = graph.producer.get(value)
        if maker is None or maker.op not in ("Identity", "Transpose"):
            return "", False
        if maker.op == "Transpose":
            if tuple(maker.attrs.get("perm", (1, 0))) != (1, 0):  # type: ignore[arg-type]
                return "", False
            is_turned = not is_turned
        value = maker.inputs[0]
    return value, is_turned


def _other_readers(graph: Graph, weights: str) -> str:
    for node in graph.consumers.get(weights, ()):
        if node.op in ("Identity", "Transpose"):
            if why := _other_readers(graph, node.outputs[0]):
                return why
        elif node.op not in OPS or node.inputs.index(weights) != 1:
            return f"{node.name} ({node.op}) reads its weights, too"
    return "its weights are an output of the model" if weights in graph.outputs else ""


def _conv_bias(graph: Graph, node: Node) -> Bias | None:
    if len(node.inputs) > 2 and node.inputs[2]:
        return _own(graph, node.inputs[2], 1)
    reader = graph.sole_consumer(node.outputs[0])
    if reader is not None and reader.op == "BatchNormalization":
        return _own(graph, reader.inputs[3], -1)
    return None


def _gemm_bias(graph: Graph, node: Node, rows: int) -> Bias | None:
    if len(node.inputs) > 2 and node.inputs[2]:
        return _own(graph, node.inputs[2], 1, rows)
    return None


def _added_bias(graph: Graph, node: Node, rows: int) -> Bias | None:
    reader = graph.sole_consumer(node.outputs[0])
    if reader is None or reader.op != "Add":
        return None
    first, second = reader.inputs
    return _own(graph, second if first == node.outputs[0] else first, 1, rows)


def _own(graph: Graph, name: str, sign: Literal[1, -1], rows: int | None = None) -> Bias | None:
    """The bias, if it is a vector that nobody else reads."""
    array = graph.constants.get(name)
    is_alone = len(graph.consumers.get(name, ())) == 1 and name not in graph.outputs
    if array is None or not is_alone or array.ndim != 1 or array.dtype != np.float32:
        return None
    return Bias(name, sign) if rows in (None, array.size) else None
