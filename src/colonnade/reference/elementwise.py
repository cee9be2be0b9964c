"""Arithmetic and activation functions, element by element, with numpy broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from colonnade.ir import Node
from colonnade.reference.attributes import axis_of, float_attr, has_attr, int_attr, str_attr
from colonnade.reference.budget import reserve_broadcast
from colonnade.reference.operation import Operation, Operations, Outputs
from colonnade.reference.precision import narrow, wide

Unary = Callable[[np.ndarray], np.ndarray]

_SELU_ALPHA = 1.67326319217681884765625
_SELU_GAMMA = 1.05070102214813232421875

_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, in float64."""
    return np.asarray(_erf(x), np.float64) if x.size else x.astype(np.float64)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)))


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) without overflow."""
    return np.asarray(np.logaddexp(x, 0))


def gelu_erf(x: np.ndarray) -> np.ndarray:
    """The exact GELU."""
    return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2))))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """The tanh form of GELU."""
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def mish(x: np.ndarray) -> np.ndarray:
    """x tanh(softplus(x))."""
    return np.asarray(x * np.tanh(softplus(x)))


def hardswish(x: np.ndarray) -> np.ndarray:
    """x hardsigmoid(x), with slope 1/6."""
    return np.asarray(x * np.clip(x / 6 + 0.5, 0, 1))


def silu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """x sigmoid(alpha x)."""
    return np.asarray(x * sigmoid(alpha * x))


def leaky_relu(x: np.ndarray, alpha: float) -> np.ndarray:
    """x above zero, alpha x below."""
    return np.asarray(np.where(x < 0, alpha * x, x))


def elu(x: np.ndarray, alpha: float) -> np.ndarray:
    """x above zero, alpha (exp(x) - 1) below."""
    return np.asarray(np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x))


def celu(x: np.ndarray, alpha: float) -> np.ndarray:
    """Elu that is smooth for every alpha."""
    return np.asarray(np.maximum(0, x) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha)))


def selu(x: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    """Scaled elu."""
    return np.asarray(gamma * elu(x, alpha))


def hardsigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """alpha x + beta, clipped to 0..1."""
    return np.asarray(np.clip(alpha * x + beta, 0, 1))


def thresholded_relu(x: np.ndarray, alpha: float) -> np.ndarray:
    """x above alpha, else zero."""
    return np.asarray(np.where(x > alpha, x, np.zeros_like(x)))


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Division; of integers, it truncates toward zero."""
    if a.dtype.kind not in "iu":
        return np.asarray(np.divide(a, b))
    quotient = np.floor_divide(a, b)
    has_rest = (quotient * b != a) & (b != 0)
    return np.asarray(quotient + (has_rest & ((a < 0) != (b < 0))).astype(a.dtype))


def power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The power in the base's type; the exponent's type is free."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu" and not (b < 0).any():
        return np.asarray(np.power(a, b.astype(a.dtype)))
    return np.asarray(np.power(a.astype(np.float64), b.astype(np.float64)))


def _unary(function: Unary) -> Operation:
    def evaluate(node: Node, x: np.ndarray) -> Outputs:
        del node
        return (narrow(function(wide(x)), x.dtype),)

    return evaluate


def _exact(function: Unary) -> Operation:
    """Rounds once in any precision, so it needs no wider one."""

    def evaluate(node: Node, x: np.ndarray) -> Outputs:
        del node
        return (narrow(function(x), x.dtype),)

    return evaluate


def _with_attrs(function: Callable[..., np.ndarray], **defaults: float) -> Operation:
    def evaluate(node: Node, x: np.ndarray) -> Outputs:
        values = [float_attr(node, name, default) for name, default in defaults.items()]
        return (narrow(function(wide(x), *values), x.dtype),)

    return evaluate


def _binary(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Operation:
    def evaluate(node: Node, a: np.ndarray, b: np.ndarray) -> Outputs:
        a, b = _aligned(node, a, b)
        reserve_broadcast(a, b)
        return (narrow(function(a, b), a.dtype),)

    return evaluate


def _aligned(node: Node, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Before opset 7, `axis` says where b's axes lie within a's."""
    if node.version >= 7 or not has_attr(node, "axis"):
        return a, b
    start = axis_of(int_attr(node, "axis"), a.ndim)
    return a, b.reshape(b.shape + (1,) * (a.ndim - start - b.ndim))


def _variadic(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Operation:
    def evaluate(node: Node, first: np.ndarray, *rest: np.ndarray) -> Outputs:
        del node
        reserve_broadcast(first, *rest)
        result = first
        for x in rest:
            result = function(result, x)
        return (narrow(result, first.dtype),)

    return evaluate


def _mean(node: Node, *inputs: np.ndarray) -> Outputs:
    del node
    reserve_broadcast(*inputs)
    total = wide(inputs[0])
    for x in inputs[1:]:
        total = total + x
    return (narrow(total / len(inputs), inputs[0].dtype),)


def _mod(node: Node, a: np.ndarray, b: np.ndarray) -> Outputs:
    reserve_broadcast(a, b)
    function = np.fmod if int_attr(node, "fmod", 0) else np.mod
    return (narrow(function(a, b), a.dtype),)


def _clip(
    node: Node, x: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None
) -> Outputs:
    if node.version < 11:
        low = np.array(float_attr(node, "min", -math.inf), x.dtype)
        high = np.array(float_attr(node, "max", math.inf), x.dtype)
    result = x if low is None else np.maximum(x, low.reshape(()))
    result = result if high is None else np.minimum(result, high.reshape(()))
    return (narrow(result, x.dtype),)


def _prelu(node: Node, x: np.ndarray, slope: np.ndarray) -> Outputs:
    # Before opset 7 a 1-D slope is per channel, not per last axis.
    if node.version < 7 and slope.ndim == 1 and slope.size > 1:
        slope = slope.reshape((-1,) + (1,) * (x.ndim - 2))
    np.broadcast_to(slope, x.shape)
    return (narrow(np.where(x < 0, slope * x, x), x.dtype),)


def _gelu(node: Node, x: np.ndarray) -> Outputs:
    is_tanh = str_attr(node, "approximate", "none") == "tanh"
    return (narrow((gelu_tanh if is_tanh else gelu_erf)(wide(x)), x.dtype),)


def _shrink(node: Node, x: np.ndarray) -> Outputs:
    bias, lambd = float_attr(node, "bias", 0.0), float_attr(node, "lambd", 0.5)
    zero = np.zeros_like(x)
    return (narrow(np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, zero)), x.dtype),)


def _swiglu(node: Node, gate: np.ndarray, linear: np.ndarray) -> Outputs:
    alpha = float_attr(node, "alpha", 1.0)
    return (narrow(silu(wide(gate), alpha) * wide(linear), gate.dtype),)


def _identity(node: Node, x: np.ndarray) -> Outputs:
    del node
    return (x,)


def _reciprocal(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.reciprocal(x))


OPS: Operations = {
    ("", "Abs"): _exact(np.abs),
    ("", "Neg"): _exact(np.negative),
    ("", "Ceil"): _exact(np.ceil),
    ("", "Floor"): _exact(np.floor),
    ("", "Round"): _exact(np.rint),
    ("", "Sqrt"): _exact(np.sqrt),
    ("", "Sign"): _exact(np.sign),
    ("", "Reciprocal"): _exact(_reciprocal),
    ("", "Relu"): _exact(lambda x: np.maximum(x, x.dtype.type(0))),
    ("", "Exp"): _unary(np.exp),
    ("", "Log"): _unary(np.log),
    ("", "Sin"): _unary(np.sin),
    ("", "Cos"): _unary(np.cos),
    ("", "Tan"): _unary(np.tan),
    ("", "Asin"): _unary(np.arcsin),
    ("", "Acos"): _unary(np.arccos),
    ("", "Atan"): _unary(np.arctan),
    ("", "Sinh"): _unary(np.sinh),
    ("", "Cosh"): _unary(np.cosh),
    ("", "Tanh"): _unary(np.tanh),
    ("", "Asinh"): _unary(np.arcsinh),
    ("", "Acosh"): _unary(np.arccosh),
    ("", "Atanh"): _unary(np.arctanh),
    ("", "Erf"): _unary(erf),
    ("", "Sigmoid"): _unary(sigmoid),
    ("", "Softplus"): _unary(softplus),
    ("", "Softsign"): _unary(lambda x: x / (1 + np.abs(x))),
    ("", "Mish"): _unary(mish),
    ("", "HardSwish"): _unary(hardswish),
    ("", "Gelu"): _gelu,
    ("", "Swish"): _with_attrs(silu, alpha=1.0),
    ("", "SwiGLU"): _swiglu,
    ("", "LeakyRelu"): _with_attrs(leaky_relu, alpha=0.01),
    ("", "Elu"): _with_attrs(elu, alpha=1.0),
    ("", "Celu"): _with_attrs(celu, alpha=1.0),
    ("", "Selu"): _with_attrs(selu, alpha=_SELU_ALPHA, gamma=_SELU_GAMMA),
    ("", "ThresholdedRelu"): _with_attrs(thresholded_relu, alpha=1.0),
    ("", "HardSigmoid"): _with_attrs(hardsigmoid, alpha=0.2, beta=0.5),
    ("", "Shrink"): _shrink,
    ("", "PRelu"): _prelu,
    ("", "Clip"): _clip,
    ("", "Add"): _binary(np.add),
    ("", "Sub"): _binary(np.subtract),
    ("", "Mul"): _binary(np.multiply),
    ("", "Div"): _binary(divide),
    ("", "Pow"): _binary(power),
    ("", "Mod"): _mod,
    ("", "Sum"): _variadic(np.add),
    ("", "Min"): _variadic(np.minimum),
    ("", "Max"): _variadic(np.maximum),
    ("", "Mean"): _mean,
    ("", "Identity"): _identity,
}
