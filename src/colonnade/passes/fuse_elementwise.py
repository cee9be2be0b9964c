"""Element-wise operations become programs, chains of them one program, and programs epilogues.

`lower_elementwise` turns single ONNX operations into colonnade.Elementwise;
`merge_elementwise` joins a program to its only reader;
`fuse_epilogue` moves a program into the convolution or product whose result it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import numpy as np

from colonnade.ir import DType, Graph, Instruction, Node, Patch, Program, is_static

INSTRUCTIONS_MAX = 32
INPUTS_MAX = 8
AXES_MAX = 7
"""Axes that a program walks; more where every operand is like the result, or is one value."""

_UNARY = {
    "Abs": "abs", "Neg": "neg", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Exp": "exp",
    "Log": "log", "Erf": "erf", "Tanh": "tanh", "Sigmoid": "sigmoid", "Relu": "relu",
    "Softplus": "softplus", "Softsign": "softsign", "HardSwish": "hardswish", "Mish": "mish",
    "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign", "Sin": "sin",
    "Cos": "cos", "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh",
    "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh",
}  # fmt: skip
_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "PRelu": "prelu",
}  # fmt: skip
_VARIADIC = {"Sum": "add", "Min": "min", "Max": "max"}
_WITH_ATTRS: dict[str, tuple[str, tuple[tuple[str, float], ...]]] = {
    "LeakyRelu": ("leaky_relu", (("alpha", 0.01),)),
    "Elu": ("elu", (("alpha", 1.0),)),
    "Celu": ("celu", (("alpha", 1.0),)),
    "ThresholdedRelu": ("thresholded_relu", (("alpha", 1.0),)),
    "HardSigmoid": ("hardsigmoid", (("alpha", 0.2), ("beta", 0.5))),
    "Selu": ("selu", (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875))),
}


def lower_elementwise(graph: Graph) -> Iterator[Patch]:
    """One ONNX operation, one program; float32 in and out, static shapes."""
    for node in graph.nodes:
        if node.domain or not _is_static_float32(graph, node) or not _has_few_axes(graph, node):
            continue
        made = _program_of(graph, node)
        if made is not None:
            program, inputs = made
            yield Patch(remove=(node,), add=(_elementwise(node, inputs, program),))


def _is_static_float32(graph: Graph, node: Node) -> bool:
    values = [value for value in (*node.inputs, *node.outputs) if value]
    if not node.inputs or any(graph.dtype(v) is not DType.FLOAT32 for v in values):
        return False
    shape = graph.shape(node.outputs[0])
    operands = [graph.shape(value) for value in node.inputs if value]
    return is_static(shape) and all(is_static(own) and _broadcasts(own, shape) for own in operands)


def _broadcasts(own: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """False in models that only a lenient engine takes: there the node stays as it is."""
    aligned = shape[len(shape) - len(own) :]
    return len(own) <= len(shape) and all(
        dim in (1, whole) for dim, whole in zip(own, aligned, strict=True)
    )


def _has_few_axes(graph: Graph, node: Node) -> bool:
    shape = graph.shape(node.outputs[0]) or ()
    operands = [graph.shape(value) or () for value in node.inputs if value]
    return len(shape) <= AXES_MAX or all(own == shape or set(own) <= {1} for own in operands)


def _program_of(graph: Graph, node: Node) -> tuple[Program, tuple[str, ...]] | None:
    inputs = tuple(value for value in node.inputs if value)
    if node.op in _UNARY:
        return Program(1, (Instruction(_UNARY[node.op], (0,)),)), inputs
    if node.op in _BINARY and _is_new_broadcast(node):
        return Program(2, (Instruction(_BINARY[node.op], (0, 1)),)), inputs
    if node.op in _VARIADIC and 1 < len(inputs) <= INPUTS_MAX and node.version >= 8:
        program = Program(len(inputs), (Instruction(_VARIADIC[node.op], (0, 1)),))
        for extra in range(2, len(inputs)):
            program = program.then(_VARIADIC[node.op], extra)
        return program, inputs
    if node.op in _WITH_ATTRS:
        opcode, defaults = _WITH_ATTRS[node.op]
        imm = tuple(float(cast(float, node.attrs.get(name, value))) for name, value in defaults)
        return Program(1, (Instruction(opcode, (0,), imm),)), inputs
    special = _SPECIAL.get(node.op)
    return special(graph, node) if special else None


def _is_new_broadcast(node: Node) -> bool:
    """numpy broadcasting came with opset 7; older nodes carry axis and broadcast."""
    return node.version >= 7 or ("broadcast" not in node.attrs and "axis" not in node.attrs)


def _gelu(_: Graph, node: Node) -> tuple[Program, tuple[str, ...]]:
    is_tanh = node.attrs.get("approximate", "none") == "tanh"
    opcode = "gelu_tanh" if is_tanh else "gelu_erf"
    return Program(1, (Instruction(opcode, (0,)),)), node.inputs


def _clip(graph: Graph, node: Node) -> tuple[Program, tuple[str, ...]] | None:
    limits = [-np.inf, np.inf]
    for i, name in enumerate(("min", "max")):
        if name in node.attrs:
            limits[i] = float(cast(float, node.attrs[name]))
        elif len(node.inputs) > i + 1 and node.inputs[i + 1]:
            array = graph.constants.get(node.inputs[i + 1])
            if array is None or array.size != 1:
                return None
            limits[i] = float(array.reshape(-1)[0])
    low, high = limits
    # ONNX: where min > max every element becomes max.
    return Program(1, (Instruction("clip", (0,), (min(low, high), high)),)), node.inputs[:1]


def _swish(_: Graph, node: Node) -> tuple[Program, tuple[str, ...]] | None:
    if cast(float, node.attrs.get("alpha", 1.0)) != 1.0:
        return None
    return Program(1, (Instruction("silu", (0,)),)), node.inputs


_SPECIAL: dict[str, Callable[[Graph, Node], tuple[Program, tuple[str, ...]] | None]] = {
    "Gelu": _gelu,
    "Clip": _clip,
    "Swish": _swish,
}


def _elementwise(node: Node, inputs: tuple[str, ...], program: Program) -> Node:
    attrs = {"program": program}
    return Node("Elementwise", inputs, node.outputs[:1], attrs, node.name, "colonnade", 1)


def merge_elementwise(graph: Graph) -> Iterator[Patch]:
    """Join a program to its only reader when both make the same shape."""
    taken: set[int] = set()
    for node in graph.nodes:
        if not is_elementwise(node) or id(node) in taken:
            continue
        maker = _mergeable_producer(graph, node)
        if maker is None or id(maker) in taken:
            continue
        merged = join_programs(maker, node)
        if merged is None:
            continue
        taken |= {id(maker), id(node)}
        yield Patch(remove=(maker, node), add=(merged,))


def is_elementwise(node: Node) -> bool:
    """True for colonnade.Elementwise."""
    return node.domain == "colonnade" and node.op == "Elementwise"


def _mergeable_producer(graph: Graph, node: Node) -> Node | None:
    for value in node.inputs:
        maker = graph.producer.get(value)
        if (
            maker is not None
            and is_elementwise(maker)
            and graph.sole_consumer(value) is node
            and graph.shape(value) == graph.shape(node.outputs[0])
        ):
            return maker
    return None


def join_programs(maker: Node, reader: Node) -> Node | None:
    """`reader` with `maker`'s program in place of the input it made; None when too long."""
    made = maker.outputs[0]
    first = cast(Program, maker.attrs["program"])
    second = cast(Program, reader.attrs["program"])
    inputs = list(dict.fromkeys((*maker.inputs, *(v for v in reader.inputs if v != made))))
    total = len(first.instructions) + len(second.instructions)
    if total > INSTRUCTIONS_MAX or len(inputs) > INPUTS_MAX:
        return None
    count = len(inputs)

    def first_number(arg: int) -> int:
        if arg < first.num_inputs:
            return inputs.index(maker.inputs[arg])
        return arg - first.num_inputs + count

    result = first_number(first.result)

    def second_number(arg: int) -> int:
        if arg < second.num_inputs:
            value = reader.inputs[arg]
            return result if value == made else inputs.index(value)
        return arg - second.num_inputs + count + len(first.instructions)

    instructions = tuple(
        Instruction(ins.op, tuple(first_number(a) for a in ins.args), ins.imm)
        for ins in first.instructions
    ) + tuple(
        Instruction(ins.op, tuple(second_number(a) for a in ins.args), ins.imm)
        for ins in second.instructions
    )
    program = Program(count, instructions)
    return replace(reader, inputs=tuple(inputs), attrs={"program": program})


_FIXED_INPUTS = {"Conv": 3, "ConvTranspose": 3, "Linear": 3, "QLinear": 9, "QConv": 9}
"""Of the products that take an epilogue; its operands come behind."""


def fuse_epilogue(graph: Graph) -> Iterator[Patch]:
    """Move a program into the product whose result it reads: activations, residual sums, scales."""
    taken: set[int] = set()
    for node in graph.nodes:
        if not is_elementwise(node) or id(node) in taken:
            continue
        for value in reversed(node.inputs):
            maker = graph.producer.get(value)
            if maker is None or id(maker) in taken or not _takes_epilogue(graph, maker, node):
                continue
            taken |= {id(maker), id(node)}
            yield Patch(remove=(maker, node), add=(_with_epilogue(maker, node),))
            break


def _takes_epilogue(graph: Graph, maker: Node, node: Node) -> bool:
    made = maker.outputs[0]
    if maker.op not in _FIXED_INPUTS or maker.domain not in ("", "colonnade"):
        return False
    if any(maker.inputs[7:9]):  # Its output is quantized: that comes behind an epilogue.
        return False
    if maker.domain == "" and maker.op == "Linear":
        return False
    if cast(Program, maker.attrs.get("epilogue", Program(1))).instructions:
        return False
    if graph.sole_consumer(made) is not node or graph.shape(made) != graph.shape(node.outputs[0]):
        return False
    if not _has_constant_weights(graph, maker):
        return False
    feature_axis = -1 if maker.op in ("Linear", "QLinear") else 1
    others = [value for value in node.inputs if value != made]
    depthwise = maker.op in ("Conv", "QConv") and cast(int, maker.attrs.get("group", 1)) > 1
    return all(
        _fits_epilogue(graph, value, made, feature_axis, only_features=depthwise)
        for value in others
    )


def _has_constant_weights(graph: Graph, maker: Node) -> bool:
    shape = graph.shape(maker.inputs[0])
    if shape is None or 0 in shape:
        return False
    if maker.op.startswith("Q"):
        return True
    if graph.dtype(maker.inputs[0]) is not DType.FLOAT32:
        return False
    if maker.op != "Linear" and len(shape) not in (3, 4):
        return False
    return all(value in graph.constants for value in maker.inputs[1:3] if value)


def _fits_epilogue(
    graph: Graph, value: str, made: str, feature_axis: int, *, only_features: bool
) -> bool:
    """The operand is shaped like the product, or has one value a feature, or one in all."""
    shape, own = graph.shape(made), graph.shape(value)
    if shape is None or own is None:
        return False
    if own == shape and value not in graph.constants:
        return not only_features
    padded = (1,) * (len(shape) - len(own)) + own
    axis = feature_axis % len(shape)
    return len(padded) == len(shape) and all(
        dim == 1 or (i == axis and dim == shape[i]) for i, dim in enumerate(padded)
    )


def _with_epilogue(maker: Node, node: Node) -> Node:
    """The product with the program; its input 0 is the product, then the others in order."""
    made = maker.outputs[0]
    program = cast(Program, node.attrs["program"])
    others = list(dict.fromkeys(value for value in node.inputs if value != made))

    def number(arg: int) -> int:
        if arg >= program.num_inputs:
            return arg - program.num_inputs + len(others) + 1
        value = node.inputs[arg]
        return 0 if value == made else others.index(value) + 1

    epilogue = Program(
        len(others) + 1,
        tuple(
            Instruction(ins.op, tuple(number(a) for a in ins.args), ins.imm)
            for ins in program.instructions
        ),
    )
    count = _FIXED_INPUTS[maker.op]
    fixed = (*maker.inputs, *("",) * (count - len(maker.inputs)))[:count]
    return replace(
        maker,
        inputs=(*fixed, *others),
        outputs=node.outputs,
        attrs={**maker.attrs, "epilogue": epilogue},
        domain="colonnade",
        version=1,
    )
