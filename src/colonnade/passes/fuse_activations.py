"""Activations that exporters spell out, each back to one element-wise opcode."""

from __future__ import annotations

import math

from colonnade.ir import DType, Instruction, Node, Program
from colonnade.passes.pattern import Match, Pattern, RewriteRule, const, op, var

X = var("x")


def elementwise(match: Match, opcode: str) -> Node | None:
    """The match's root as one instruction on x; float32 only."""
    if match.type_of("x").dtype is not DType.FLOAT32:
        return None
    program = Program(1, (Instruction(opcode, (0,)),))
    root = match.root
    return Node(
        "Elementwise", (match.values["x"],), root.outputs, {"program": program}, root.name,
        "colonnade", 1,
    )  # fmt: skip


def _erf_forms() -> tuple[Pattern, ...]:
    """x * 0.5 * (1 + erf(x / sqrt 2)), in the groupings that exporters write."""
    scaled = (op("Div", X, const(math.sqrt(2))), op("Mul", X, const(math.sqrt(0.5))))
    forms: list[Pattern] = []
    for inner in scaled:
        gate = op("Add", op("Erf", inner), const(1.0))
        forms += [
            op("Mul", op("Mul", X, gate), const(0.5)),
            op("Mul", op("Mul", X, const(0.5)), gate),
            op("Mul", X, op("Mul", gate, const(0.5))),
        ]
    return tuple(forms)


def _tanh_forms() -> tuple[Pattern, ...]:
    """x * 0.5 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))."""
    cube = (op("Pow", X, const(3.0)), op("Mul", X, op("Mul", X, X)), op("Mul", op("Mul", X, X), X))
    forms: list[Pattern] = []
    for power in cube:
        inner = op("Add", X, op("Mul", power, const(0.044715)))
        gate = op("Add", op("Tanh", op("Mul", inner, const(math.sqrt(2 / math.pi)))), const(1.0))
        forms += [
            op("Mul", op("Mul", X, gate), const(0.5)),
            op("Mul", op("Mul", X, const(0.5)), gate),
            op("Mul", X, op("Mul", gate, const(0.5))),
        ]
    return tuple(forms)


fuse_gelu = RewriteRule("fuse_gelu", _erf_forms(), lambda m: elementwise(m, "gelu_erf"))
fuse_gelu_tanh = RewriteRule("fuse_gelu_tanh", _tanh_forms(), lambda m: elementwise(m, "gelu_tanh"))
fuse_silu = RewriteRule(
    "fuse_silu", (op("Mul", X, op("Sigmoid", X)),), lambda m: elementwise(m, "silu")
)


def _hardswish(match: Match) -> Node | None:
    sigmoid = match.named["gate"]
    alpha, beta = sigmoid.attrs.get("alpha", 0.2), sigmoid.attrs.get("beta", 0.5)
    assert isinstance(alpha, float)
    assert isinstance(beta, float)
    if abs(alpha - 1 / 6) > 1e-6 or abs(beta - 0.5) > 1e-6:
        return None
    return elementwise(match, "hardswish")


fuse_hardswish = RewriteRule(
    "fuse_hardswish", (op("Mul", X, op("HardSigmoid", X, name="gate")),), _hardswish
)
