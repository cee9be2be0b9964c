"""ONNX Runtime's element-wise and pooling operators on 8 bits, written with their float32 forms.

QLinearAdd(a, b) is QuantizeLinear(Add(DequantizeLinear(a), DequantizeLinear(b))), and so on: each
operand is dequantized, the float32 operator runs, its result is quantized. So is what ONNX Runtime
documents; its own tables and integer sums may round differently by one step. `channels_last` stays
for ONNX Runtime. Its QuantizeLinear and DequantizeLinear are ONNX's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

from colonnade.ir import AttrValue, DType, Graph, Node, Patch, is_static
from colonnade.passes.construction import OPSET, Construction
from colonnade.passes.quantization import read_quantized

_CONTRIB = "com.microsoft"


@dataclass(frozen=True)
class _Form:
    """The float32 operator, and where the operator on 8 bits has its operands.

    Each operand is a value, its scale and its zero point, in order, from the numbers in `operands`.
    """

    op: str
    operands: tuple[int, ...]
    output: int
    """Number of the output's scale; its zero point follows."""
    attrs: tuple[str, ...] = ()
    plain: tuple[int, ...] = ()
    """Inputs that are not quantized and come first."""
    version: int = OPSET


_FORMS = {
    "QLinearAdd": _Form("Add", (0, 3), 6),
    "QLinearMul": _Form("Mul", (0, 3), 6),
    "QLinearSigmoid": _Form("Sigmoid", (0,), 3),
    "QLinearLeakyRelu": _Form("LeakyRelu", (0,), 3, ("alpha",)),
    "QLinearSoftmax": _Form("Softmax", (0,), 3, ("axis",)),
    "QLinearGlobalAveragePool": _Form("GlobalAveragePool", (0,), 3),
    "QLinearAveragePool": _Form(
        "AveragePool", (0,), 3,
        ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"),
    ),
    "QLinearReduceMean": _Form("ReduceMean", (0,), 3, ("axes", "keepdims"), version=13),
    "QLinearWhere": _Form("Where", (1, 4), 7, plain=(0,)),
}  # fmt: skip


def expand_qlinear(graph: Graph) -> Iterator[Patch]:
    """One patch for each operator of ONNX Runtime's own whose scales are scalars."""
    for node in graph.nodes:
        if node.domain != _CONTRIB or not is_static(graph.shape(node.outputs[0])):
            continue
        if node.op in ("QuantizeLinear", "DequantizeLinear"):
            yield Patch(remove=(node,), add=(replace(node, domain="", version=OPSET),))
            continue
        form = _concat_form(node) if node.op == "QLinearConcat" else _FORMS.get(node.op)
        if form is None or node.attrs.get("channels_last", 0):
            continue
        if all(_is_scalar(graph, node, at, is_output=False) for at in form.operands):
            if _is_scalar(graph, node, form.output, is_output=True):
                yield _expanded(graph, node, form)


def _concat_form(node: Node) -> _Form:
    """Scale and zero point of the output come first."""
    return _Form("Concat", tuple(range(2, len(node.inputs), 3)), 0, ("axis",))


def _is_scalar(graph: Graph, node: Node, at: int, *, is_output: bool) -> bool:
    value = node.outputs[0] if is_output else node.inputs[at]
    first = at if is_output else at + 1
    found = read_quantized(graph, value, _input(node, first), _input(node, first + 1), 0)
    return found is not None and found.axis is None


def _input(node: Node, number: int) -> str:
    return node.inputs[number] if number < len(node.inputs) else ""


def _expanded(graph: Graph, node: Node, form: _Form) -> Patch:
    made = Construction(graph, node, "real")
    operands = [node.inputs[number] for number in form.plain]
    operands += [_dequantized(made, node, at) for at in form.operands]
    attrs: Mapping[str, AttrValue] = {k: node.attrs[k] for k in form.attrs if k in node.attrs}
    out = node.outputs[0]
    shape = made.shape(out)
    version = form.version
    if node.op == "QLinearSoftmax":
        version = cast(int, node.attrs.get("opset", 13))
    real = made.call(form.op, operands, shape, attrs, version=version)
    parameters = _parameters(node, form.output)
    made.call("QuantizeLinear", (real, *parameters), shape, output=out, dtype=graph.dtype(out))
    return made.patch()


def _dequantized(made: Construction, node: Node, at: int) -> str:
    value = node.inputs[at]
    inputs = (value, *_parameters(node, at + 1))
    return made.call("DequantizeLinear", inputs, made.shape(value), dtype=DType.FLOAT32)


def _parameters(node: Node, first: int) -> tuple[str, ...]:
    """Scale, and the zero point where there is one."""
    return tuple(filter(None, (node.inputs[first], _input(node, first + 1))))
