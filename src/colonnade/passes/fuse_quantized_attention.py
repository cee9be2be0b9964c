"""Attention whose products are both of 8 bits, with the borders between them, becomes QAttention.

    QMatMul -> borders, factors, mask -> Softmax -> borders -> QMatMul

The fused node does just what the graph says, border by border, without a tensor of scores in memory
(reference/quantized_attention.py). All scales and zero points must be constant: that of the weights
could not be known before the last of them. Start reading at `fuse_quantized_attention`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from colonnade.ir import BYTE_DEPTH_MAX, AttrValue, DType, Graph, Node, Patch, TensorType, is_static
from colonnade.passes.attention_heads import (
    Heads,
    Operand,
    after_softmax,
    attention_patch,
    find_operands,
    heads_of,
    is_mask,
    moved_copy,
    sample_heads,
    scalar_factor,
    scores_shape,
)
from colonnade.passes.quantization import (
    find_dequantized,
    is_dequantize,
    is_quantize,
    output_of,
    read_parameters,
)
from colonnade.passes.trace_moves import trace_back

BYTE_GROUP = 4
STEPS_MAX = 8
REQUANTIZE, MULTIPLY, ADD_MASK = "requantize", "multiply", "add_mask"


@dataclass(frozen=True)
class _Border:
    """A constant scale and zero point; those of int8 count from 128, as if they were uint8."""

    scale: float
    zero: int


@dataclass(frozen=True)
class _Step:
    """One of the things that happen to scores: a border and back, a factor, the mask."""

    kind: str
    value: float = 0.0
    zero: int = 0


@dataclass(frozen=True)
class _Scores:
    product: Node
    steps: tuple[_Step, ...] = ()
    mask: str = ""

    def then(self, step: _Step, mask: str = "") -> _Scores:
        """One step more."""
        return _Scores(self.product, (*self.steps, step), mask or self.mask)


@dataclass(frozen=True)
class _Weights:
    """What comes of the softmax: its reader, and the borders on the way."""

    out: Node
    zero_nan_rows: bool
    weight: _Border | None
    probability: _Border


def fuse_quantized_attention(graph: Graph) -> Iterator[Patch]:
    """One patch for every softmax between two QMatMul."""
    for node in graph.nodes:
        if node.op == "Softmax" and not node.domain:
            patch = _fuse(graph, node)
            if patch is not None:
                yield patch


def _fuse(graph: Graph, softmax: Node) -> Patch | None:
    shape = scores_shape(graph, softmax)
    if shape is None or shape[-1] > BYTE_DEPTH_MAX:
        return None
    weights = _weights(graph, softmax.outputs[0])
    scores = _scores(graph, softmax.inputs[0], shape) if weights is not None else None
    if weights is None or scores is None or len(scores.steps) > STEPS_MAX:
        return None
    return _build(graph, scores, weights, shape)


def _scores(graph: Graph, value: str, shape: tuple[int, ...]) -> _Scores | None:
    """Walk back to the product of queries and keys; every value has one reader and the same shape."""
    node = graph.producer.get(value)
    if node is None or graph.sole_consumer(value) is None or graph.shape(value) != shape:
        return None
    if _is_product(node):
        return _Scores(node) if output_of(node) is None else None
    if is_dequantize(node):
        return _requantized_scores(graph, value, shape)
    factor = scalar_factor(graph, node)
    if factor is not None:
        before = _scores(graph, factor[0], shape)
        return before and before.then(_Step(MULTIPLY, factor[1]))
    if node.op != "Add" or node.domain:
        return None
    for side, mask in (node.inputs, node.inputs[::-1]):
        before = _scores(graph, side, shape)
        if before is not None and not before.mask and is_mask(graph, mask, shape):
            return before.then(_Step(ADD_MASK), mask)
    return None


def _requantized_scores(graph: Graph, value: str, shape: tuple[int, ...]) -> _Scores | None:
    """Scores that were integers on the way: of the product itself, or of a QuantizeLinear."""
    source = find_dequantized(graph, value)
    border = _border(graph, graph.producer[value])
    node = graph.producer.get(source.value) if source is not None else None
    if source is None or border is None or node is None:
        return None
    if graph.sole_consumer(source.value) is None or _output_border(graph, node) != border:
        return None
    before = _Scores(node) if _is_product(node) else _scores(graph, node.inputs[0], shape)
    return before and before.then(_Step(REQUANTIZE, border.scale, border.zero))


def _weights(graph: Graph, value: str) -> _Weights | None:
    """Walk on from the softmax to the product with the values."""
    value, weight = _behind_border_and_back(graph, value)
    value, zero_nan_rows = after_softmax(graph, value)
    quantize = graph.sole_consumer(value)
    if quantize is None or not is_quantize(quantize):
        return None
    out = graph.sole_consumer(quantize.outputs[0])
    probability = _border(graph, quantize)
    if out is None or not _is_product(out) or out.inputs[0] != quantize.outputs[0]:
        return None
    if probability is None or _scalars(graph, quantize.outputs[0], *out.inputs[2:4]) != probability:
        return None
    # What comes back from integers is not NaN.
    return _Weights(out, zero_nan_rows and weight is None, weight, probability)


def _behind_border_and_back(graph: Graph, value: str) -> tuple[str, _Border | None]:
    quantize = graph.sole_consumer(value)
    if quantize is None or not is_quantize(quantize):
        return value, None
    back = graph.sole_consumer(quantize.outputs[0])
    if back is None or not is_dequantize(back):
        return value, None
    border = _border(graph, quantize)
    return (back.outputs[0], border) if border == _border(graph, back) else (value, None)


def _is_product(node: Node | None) -> bool:
    return node is not None and node.domain == "colonnade" and node.op == "QMatMul"


def _output_border(graph: Graph, node: Node) -> _Border | None:
    """Of a QuantizeLinear, or a QMatMul that makes integers."""
    if is_quantize(node):
        return _border(graph, node)
    made = output_of(node) if _is_product(node) else None
    return None if made is None else _scalars(graph, node.outputs[0], *made)


def _border(graph: Graph, node: Node) -> _Border | None:
    """Of a QuantizeLinear or DequantizeLinear per tensor."""
    integers = node.outputs[0] if is_quantize(node) else node.inputs[0]
    source = read_parameters(graph, integers, node)
    if source is None or source.axis is not None:
        return None
    return _scalars(graph, integers, source.scale, source.zero)


def _scalars(graph: Graph, integers: str, scale: str, zero: str) -> _Border | None:
    scales, zeros = graph.constants.get(scale), graph.constants.get(zero)
    if scales is None or (zero and zeros is None):
        return None
    number = float(scales.reshape(-1)[0])
    if not (np.isfinite(number) and number > 0):
        return None
    shift = 128 if graph.dtype(integers) is DType.INT8 else 0
    return _Border(number, shift + (0 if zeros is None else int(zeros.reshape(-1)[0])))


def _build(
    graph: Graph, scores: _Scores, weights: _Weights, shape: tuple[int, ...]
) -> Patch | None:
    out = weights.out
    names = (*scores.product.inputs[:2], out.inputs[1])
    borders = [
        _scalars(graph, value, *parameters)
        for value, parameters in zip(
            names,
            (scores.product.inputs[2:4], scores.product.inputs[4:6], out.inputs[4:6]),
            strict=True,
        )
    ]
    operands = find_operands(graph, scores.product, out, shape, _operand)
    depths = [(graph.shape(value) or (0,))[-1] for value in (names[0], names[2])]
    if operands is None or not all(_is_depth(depth) for depth in depths):
        return None
    attrs: dict[str, AttrValue] = {
        "steps": tuple(step.kind for step in scores.steps),
        "step_values": tuple(step.value for step in scores.steps),
        "step_zeros": tuple(step.zero for step in scores.steps),
        "zero_nan_rows": int(weights.zero_nan_rows),
    }
    made = _output_border(graph, out)
    if output_of(out) is not None and made is None:
        return None
    optional = {"weight": weights.weight, "probability": weights.probability, "y": made}
    for name, border in (*zip("qkv", borders, strict=True), *optional.items()):
        if border is not None:
            attrs |= {f"{name}_scale": border.scale, f"{name}_zero": border.zero}
        elif name in "qkv":
            return None
    attrs["is_signed"] = int(graph.dtype(out.outputs[0]) is DType.INT8)
    return attention_patch(graph, "QAttention", out, operands, scores.mask, shape, attrs)


def _is_depth(depth: int | str | None) -> bool:
    """Whole groups of bytes, of which a sum fits int32."""
    return isinstance(depth, int) and depth % BYTE_GROUP == 0 and depth <= BYTE_DEPTH_MAX


def _operand(graph: Graph, value: str, want: Heads, transposed: bool) -> Operand | None:
    """The nearest source that has the heads in its last axis, or a moved copy of the integers.

    Borders and factors between the source and the integers are repeated on the source.
    """
    samples = sample_heads(graph, value, want, transposed=transposed)
    if samples is None:
        return None
    current, moved, passed = value, samples.own, list[Node]()
    while True:
        for source in trace_back(graph, current, moved):
            shape = graph.shape(source.value)
            assert is_static(shape)
            heads = heads_of(source.index_of, shape, samples.heads, want)
            if heads:
                return _repeated(graph, Operand(source.value, heads), passed[::-1])
            current, flat = source.value, source.index_of
        node = graph.producer.get(current)
        if node is None or not _is_pointwise(graph, node):
            return moved_copy(graph, value, want, transposed=transposed)
        own = graph.shape(current)
        assert is_static(own)
        moved = tuple(np.unravel_index(flat, own))
        passed.append(node)
        current = _data_input(graph, node)


def _is_pointwise(graph: Graph, node: Node) -> bool:
    """A border per tensor, or a factor, that keeps the shape."""
    is_known = (
        _border(graph, node) is not None
        if is_quantize(node) or is_dequantize(node)
        else scalar_factor(graph, node) is not None
    )
    if not is_known:
        return False
    return graph.shape(_data_input(graph, node)) == graph.shape(node.outputs[0])


def _data_input(graph: Graph, node: Node) -> str:
    factor = scalar_factor(graph, node)
    return node.inputs[0] if factor is None else factor[0]


def _repeated(graph: Graph, source: Operand, nodes: list[Node]) -> Operand:
    """The nodes on the source, in order."""
    shape = graph.shape(source.value)
    added: list[Node] = []
    types: dict[str, TensorType] = {}
    value = source.value
    for node in nodes:
        data, made = _data_input(graph, node), f"{node.outputs[0]}/features_last"
        inputs = tuple(value if name == data else name for name in node.inputs)
        attrs = {key: kept for key, kept in node.attrs.items() if key != "axis"}
        added.append(replace(node, inputs=inputs, outputs=(made,), attrs=attrs))
        types[made] = TensorType(graph.dtype(node.outputs[0]), shape)
        value = made
    return Operand(value, source.heads, 1.0, tuple(added), tuple(types.items()))
