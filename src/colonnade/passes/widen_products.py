"""QLinear and QConv in float32 where this machine runs them faster so, with the same bytes.

The float32 form multiplies the integers as floats, x - x_zero and w, and finishes as the kernels on
8 bits do: sum * (x_scale * w_scale), + bias, the epilogue, * (1 / y_scale), each rounded apart, then
QuantizeLinear of scale 1. Sums of integers are exact in float32 below 2^24, in any order: a product
whose weights could go beyond is left alone. So a choice that depends on the machine changes no byte.

Which products are wanted in float32 is for the caller to say: passes measure nothing. This comes
after all other passes, when a product and its epilogue are what will run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import cast

import numpy as np

from colonnade.ir import (
    FLOAT_EXACT_MAX,
    DType,
    Graph,
    Instruction,
    Node,
    Patch,
    Program,
    apply_patch,
    is_static,
)
from colonnade.passes.construction import Construction
from colonnade.passes.quantization import bias_of, output_of

PreferFloat32 = Callable[[Graph, Graph], str]
"""Why the second graph is to replace the first, "" where it is not. The first holds one product,
the second the same in float32."""
FIXED_INPUTS = 9
"""Before the epilogue's operands: reference/quantized_products.py."""
PROGRAM_INPUTS_MAX = 8
BYTE_MAX = 255


def keep_8_bits(_: Graph, __: Graph) -> str:
    """Nothing is wanted in float32."""
    return ""


def make_widen_products(prefers_float32: PreferFloat32) -> Callable[[Graph], Iterable[Patch]]:
    """The pass, with the caller's answer to what is faster. It asks once for each product."""
    left: set[str] = set()

    def widen_products(graph: Graph) -> Iterator[Patch]:
        for node in graph.nodes:
            product = node.outputs[0]
            if product in left or not has_same_bytes(graph, node):
                continue
            alone = _alone(graph, node)
            reason = prefers_float32(alone, apply_patch(alone, _in_float32(alone, node)))
            if reason:
                yield replace(_in_float32(graph, node), reasons={node.name: reason})
            else:
                left.add(product)

    return widen_products


def has_same_bytes(graph: Graph, node: Node) -> bool:
    """True when the float32 form surely makes the same bytes."""
    if node.domain != "colonnade" or node.op not in ("QLinear", "QConv"):
        return False
    if not is_static(graph.shape(node.outputs[0])):
        return False
    w, w_scale, y_scale = node.inputs[1], node.inputs[4], (output_of(node) or ("", ""))[0]
    finishing = [graph.constants.get(value) for value in (w_scale, bias_of(node), y_scale) if value]
    if any(array is None or not np.isfinite(array).all() for array in finishing):
        return False
    program = cast(Program, node.attrs.get("epilogue", Program(1)))
    if program.num_inputs + 3 > PROGRAM_INPUTS_MAX:  # factor, bias, 1 / y_scale
        return False
    weights = graph.constants[w]
    largest = int(np.abs(weights.reshape(len(weights), -1).astype(np.int32)).sum(axis=1).max())
    return largest * _largest_difference(graph, node) < FLOAT_EXACT_MAX


def _largest_difference(graph: Graph, node: Node) -> int:
    """Of an activation from its zero point."""
    zero = graph.constants.get(node.inputs[3])
    if zero is None:
        return BYTE_MAX
    limits = np.iinfo(zero.dtype)
    return max(int(limits.max) - int(zero.min()), int(zero.max()) - int(limits.min))


def _alone(graph: Graph, node: Node) -> Graph:
    """The node as a graph of its own."""
    values = [value for value in (*node.inputs, *node.outputs) if value]
    constants = {value: graph.constants[value] for value in values if value in graph.constants}
    inputs = dict.fromkeys(v for v in node.inputs if v and v not in constants)
    return Graph(
        "product", tuple(inputs), node.outputs, (node,),
        {value: graph.types[value] for value in values}, constants, graph.opsets,
    )  # fmt: skip


def _in_float32(graph: Graph, node: Node) -> Patch:
    made = Construction(graph, node, "wide")
    output = output_of(node)
    y, shape = node.outputs[0], made.shape(node.outputs[0])
    product = y if output is None else f"{y}/wide/product"
    made.declare(product, DType.FLOAT32, shape)
    is_conv = node.op == "QConv"
    operands = [_factor(made, node, len(shape) if is_conv else 1)]
    if bias := bias_of(node):
        operands.append(_by_channel(made, bias, len(shape)) if is_conv else bias)
    operands += node.inputs[FIXED_INPUTS:]
    if output is not None:
        scale = made.array(output[0])
        assert scale is not None
        operands.append(made.constant(np.float32(1) / scale.astype(np.float32)))
    program = cast(Program, node.attrs.get("epilogue", Program(1)))
    attrs = {
        **node.attrs, "epilogue": _finishing(program, bool(bias), output is not None), "exact": 1,
    }  # fmt: skip
    inputs = (_integers(made, graph, node), _weights(made, graph, node), "", *operands)
    op = "Conv" if is_conv else "Linear"
    made.add(Node(op, inputs, (product,), attrs, node.name, "colonnade", 1))
    if output is not None:
        made.call(
            "QuantizeLinear", (product, made.number(1.0), output[1]), shape, output=y,
            dtype=graph.dtype(y),
        )  # fmt: skip
    return made.patch()


def _integers(made: Construction, graph: Graph, node: Node) -> str:
    """x - x_zero as float32; products that read the same x share it."""
    x, zero = node.inputs[0], node.inputs[3]
    value = f"{x}/wide" + (f" from {zero}" if zero else "")
    if value in graph.producer:
        return value
    inputs = (x, made.number(1.0), *((zero,) if zero else ()))
    return made.call("DequantizeLinear", inputs, made.shape(x), output=value)


def _weights(made: Construction, graph: Graph, node: Node) -> str:
    array = graph.constants[node.inputs[1]].astype(np.float32)
    return made.constant(array.T if node.op == "QLinear" else array)


def _factor(made: Construction, node: Node, rank: int) -> str:
    """x_scale * w_scale, against axis 1 of `rank` axes; a scalar as it is."""
    x_scale, w_scale = node.inputs[2], _by_channel(made, node.inputs[4], rank)
    arrays = [made.array(value) for value in (x_scale, w_scale)]
    if arrays[0] is not None and arrays[1] is not None:
        return made.constant((arrays[0] * arrays[1]).astype(np.float32))
    value = f"{node.outputs[0]}/wide/factor"
    shapes = (made.shape(x_scale), made.shape(w_scale))
    made.declare(value, DType.FLOAT32, np.broadcast_shapes(*shapes))
    program = Program(2, (Instruction("mul", (0, 1)),))
    attrs = {"program": program}
    made.add(Node("Elementwise", (x_scale, w_scale), (value,), attrs, value, "colonnade", 1))
    return value


def _by_channel(made: Construction, value: str, rank: int) -> str:
    shape = made.shape(value)
    return made.reshape(value, (*shape, *(1,) * (rank - 2))) if shape and rank > 2 else value


def _finishing(program: Program, has_bias: bool, has_output: bool) -> Program:
    """Of sum, factor, bias?, the program's own operands, 1 / y_scale?."""
    own = 2 + has_bias
    num_inputs = own + program.num_inputs - 1 + has_output
    first = Program(num_inputs).then("mul", 1)
    if has_bias:
        first = first.then("add", 2)
    numbers = [first.result, *range(own, own + program.num_inputs - 1)]
    begin = num_inputs + len(first.instructions)
    numbers += range(begin, begin + len(program.instructions))
    rest = (
        Instruction(ins.op, tuple(numbers[arg] for arg in ins.args), ins.imm)
        for ins in program.instructions
    )
    whole = Program(num_inputs, (*first.instructions, *rest))
    return whole.then("mul", num_inputs - 1) if has_output else whole
