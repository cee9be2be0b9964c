"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear on rows, per tensor or per axis."""

from __future__ import annotations

import math

from colonnade.ir import DType, Node
from colonnade.planner.choice import Absent, Choice, In, Lowering, Out, View
from colonnade.planner.element import ELEMENT_CODE
from colonnade.planner.lower.attributes import axis_of, integer, operand
from colonnade.planner.lower.moves import NO_ELEMENTS

_QUANTIZED = frozenset({DType.UINT8, DType.INT8, DType.UINT16, DType.INT16})
_DEQUANTIZED = _QUANTIZED | {DType.INT32}
_FLOAT_CODE = 1
"""TensorProto.FLOAT."""


def lower_quantize(node: Node, view: View) -> Choice | str:
    """float32 to 8 or 16 bits; saturates, NaN becomes the lowest number."""
    x, output = node.inputs[0], node.outputs[0]
    if view.dtype(x) is not DType.FLOAT32:
        return f"quantization of {view.dtype(x).value}"
    if view.dtype(output) not in _QUANTIZED:
        return f"quantization to {view.dtype(output).value}"
    if integer(node, "precision", 0) not in (0, _FLOAT_CODE):
        return "precision other than float32"
    return _choose(node, view, "quantize", view.dtype(output))


def lower_dequantize(node: Node, view: View) -> Choice | str:
    """8, 16 or 32 bits to float32."""
    x, output = node.inputs[0], node.outputs[0]
    if view.dtype(x) not in _DEQUANTIZED:
        return f"dequantization of {view.dtype(x).value}"
    if view.dtype(output) is not DType.FLOAT32:
        return f"dequantization to {view.dtype(output).value}"
    return _choose(node, view, "dequantize", view.dtype(x))


def _choose(node: Node, view: View, kernel: str, integers: DType) -> Choice | str:
    x, scale, zero = node.inputs[0], node.inputs[1], operand(node, 2)
    if view.dtype(scale) is not DType.FLOAT32:
        return f"scale of type {view.dtype(scale).value}"
    if zero and view.dtype(zero) is not integers:
        return f"zero point of type {view.dtype(zero).value}"
    space = _space(node, view)
    if isinstance(space, str):
        return space
    outer, channels, inner = space
    if outer * channels * inner == 0:
        return NO_ELEMENTS
    operands = (In(x), In(scale), In(zero) if zero else Absent(), Out(node.outputs[0]))
    why = "per tensor" if channels == 1 else f"{channels} scales"
    return Choice(kernel, operands, (ELEMENT_CODE[integers], *space), why)


def _space(node: Node, view: View) -> tuple[int, int, int] | str:
    """outer, channels, inner: the channels have a scale each."""
    shape, scales = view.shape(node.inputs[0]), view.shape(node.inputs[1])
    zero = operand(node, 2)
    if zero and math.prod(view.shape(zero)) != math.prod(scales):
        return f"zero point of shape {list(view.shape(zero))} for scale {list(scales)}"
    if math.prod(scales) == 1:
        return 1, 1, math.prod(shape)
    if integer(node, "block_size", 0) or len(scales) != 1:
        return "scales of blocks"
    axis = axis_of(node, 1, len(shape))
    if not 0 <= axis < len(shape) or shape[axis] != scales[0]:
        return f"scale {list(scales)} for axis {axis} of {list(shape)}"
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def lower_dynamic_quantize(node: Node, view: View) -> Choice | str:
    """The range in one call, then as QuantizeLinear."""
    x = node.inputs[0]
    if view.dtype(x) is not DType.FLOAT32:
        return f"quantization of {view.dtype(x).value}"
    if len(node.outputs) != 3 or not all(node.outputs):
        return "an output is left out"
    y, scale, zero = node.outputs
    elements = math.prod(view.shape(x))
    measured = Choice("dynamic_scale", (In(x), Out(scale), Out(zero)), (elements,))
    if elements == 0:
        return "quantization of an empty tensor"
    return Choice(
        "quantize", (In(x), In(scale), In(zero), Out(y)),
        (ELEMENT_CODE[DType.UINT8], 1, 1, elements), "scale of the run", before=(measured,),
    )  # fmt: skip


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("", "QuantizeLinear"): lower_quantize,
    ("", "DequantizeLinear"): lower_dequantize,
    ("", "DynamicQuantizeLinear"): lower_dynamic_quantize,
}
