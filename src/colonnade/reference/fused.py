"""Our own fused operations: a product or normalisation with what follows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from colonnade.ir import Instruction, Node, Program
from colonnade.reference import elementwise as functions
from colonnade.reference.attention import attend, join_heads, split_heads
from colonnade.reference.attributes import float_attr, int_attr
from colonnade.reference.budget import reserve_broadcast
from colonnade.reference.conv import convolve, convolve_transposed
from colonnade.reference.failure import EvaluationError, UnsupportedNodeError
from colonnade.reference.matmul import matmul
from colonnade.reference.norm import layer_norm, rms_norm
from colonnade.reference.operation import Operations, Outputs
from colonnade.reference.precision import narrow, wide


def _select(condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(condition != 0, a, b))


_OPCODES: dict[str, Callable[..., np.ndarray]] = {
    "abs": np.abs,
    "neg": np.negative,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "exp": np.exp,
    "log": np.log,
    "erf": functions.erf,
    "tanh": np.tanh,
    "sigmoid": functions.sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "softplus": functions.softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hardswish": functions.hardswish,
    "silu": functions.silu,
    "mish": functions.mish,
    "gelu_erf": functions.gelu_erf,
    "gelu_tanh": functions.gelu_tanh,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "not": lambda x: x == 0,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "leaky_relu": functions.leaky_relu,
    "elu": functions.elu,
    "celu": functions.celu,
    "thresholded_relu": functions.thresholded_relu,
    "hardsigmoid": functions.hardsigmoid,
    "selu": functions.selu,
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "pow": np.power,
    "mod": np.mod,
    "fmod": np.fmod,
    "prelu": lambda x, slope: np.where(x < 0, slope * x, x),
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
    "where": _select,
    "fma": lambda a, b, c: a * b + c,
}


def run_program(program: Program, operands: Sequence[np.ndarray]) -> np.ndarray:
    """Each instruction in float64, its result rounded to float32; numpy broadcasting."""
    if len(operands) != program.num_inputs:
        raise EvaluationError(f"{len(operands)} operands for {program.num_inputs} inputs")
    shape = reserve_broadcast(*operands)
    values = [operand.astype(np.float32, copy=False) for operand in operands]
    with np.errstate(all="ignore"):
        for instruction in program.instructions:
            values.append(_run_instruction(instruction, values))
    return np.broadcast_to(values[program.result], shape)


def _run_instruction(instruction: Instruction, values: Sequence[np.ndarray]) -> np.ndarray:
    if instruction.op not in _OPCODES:
        raise UnsupportedNodeError(f"opcode {instruction.op!r}")
    arguments = [wide(values[arg]) for arg in instruction.args]
    result = _OPCODES[instruction.op](*arguments, *instruction.imm)
    return narrow(result, np.float32)


def _program(node: Node, name: str) -> Program:
    program = node.attrs.get(name)
    if not isinstance(program, Program):
        raise EvaluationError(f"attribute {name!r} must be a program")
    return program


def with_epilogue(node: Node, product: np.ndarray, extra: Sequence[np.ndarray | None]) -> Outputs:
    """The program's input 0 is the product, rounded; the rest are the extra operands."""
    operands = [narrow(product, np.float32), *(x for x in extra if x is not None)]
    return (run_program(_program(node, "epilogue"), operands),)


def _conv(
    node: Node,
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    *extra: np.ndarray | None,
) -> Outputs:
    return with_epilogue(node, convolve(node, x, w, bias), extra)


def _conv_transpose(
    node: Node,
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    *extra: np.ndarray | None,
) -> Outputs:
    return with_epilogue(node, convolve_transposed(node, x, w, bias), extra)


def _linear(
    node: Node,
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    *extra: np.ndarray | None,
) -> Outputs:
    product = matmul(x, w)
    return with_epilogue(node, product if bias is None else product + wide(bias), extra)


def _elementwise(node: Node, *inputs: np.ndarray) -> Outputs:
    return (run_program(_program(node, "program"), inputs),)


def _sum_of(x: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
    return x if residual is None else narrow(wide(x) + wide(residual), x.dtype)


def _layer_norm(
    node: Node,
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
) -> Outputs:
    total = _sum_of(x, residual)
    result, _, _ = layer_norm(wide(total), (-1,), float_attr(node, "epsilon"))
    result = result * wide(scale)
    return narrow(result if bias is None else result + wide(bias), x.dtype), total


def _rms_norm(
    node: Node,
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
) -> Outputs:
    total = _sum_of(x, residual)
    result = rms_norm(wide(total), (-1,), float_attr(node, "epsilon")) * wide(scale)
    return narrow(result if bias is None else result + wide(bias), x.dtype), total


def _attention(
    node: Node, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None = None
) -> Outputs:
    """Heads lie in the last axis; the other axes are batch times positions."""
    batch = int_attr(node, "batch", q.shape[0])
    heads, kv_heads = int_attr(node, "num_heads"), int_attr(node, "kv_num_heads")
    queries, keys, values = (
        split_heads(wide(x).reshape(batch, -1, x.shape[-1]), n)
        for x, n in ((q, heads), (k, kv_heads), (v, kv_heads))
    )
    bias = np.zeros((1, 1, 1, 1)) if mask is None else wide(mask)
    if int_attr(node, "causal", 0):
        later = np.triu(np.ones((queries.shape[2], keys.shape[2]), np.bool_), 1)
        bias = bias + np.where(later, -np.inf, 0.0)
    result = attend(queries, keys, values, float_attr(node, "scale"), bias)
    if int_attr(node, "zero_nan_rows", 0):
        is_blind = np.max(bias, axis=-1, keepdims=True) == -np.inf
        result = np.where(is_blind, 0.0, result)
    joined = join_heads(result)
    return (narrow(joined.reshape(*q.shape[:-1], joined.shape[-1]), q.dtype),)


OPS: Operations = {
    ("colonnade", "Conv"): _conv,
    ("colonnade", "ConvTranspose"): _conv_transpose,
    ("colonnade", "Linear"): _linear,
    ("colonnade", "Elementwise"): _elementwise,
    ("colonnade", "LayerNorm"): _layer_norm,
    ("colonnade", "RMSNorm"): _rms_norm,
    ("colonnade", "Attention"): _attention,
}
