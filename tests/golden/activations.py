"""GELU, SiLU and HardSwish as exporters write them."""

from __future__ import annotations

import math

from colonnade.passes.fuse_activations import (
    fuse_gelu,
    fuse_gelu_tanh,
    fuse_hardswish,
    fuse_silu,
)
from golden.builder import Case

ERF = {"root2": math.sqrt(2), "half": 0.5, "one": 1.0, "iroot2": math.sqrt(0.5)}
TANH = {"three": 3.0, "a": 0.044715, "b": math.sqrt(2 / math.pi), "one": 1.0, "half": 0.5}


def _erf(name: str, body: str, *, fuses: bool = True, **changes: float) -> Case:
    text = f"(float[2,3] x) => (float[2,3] y) {{ {body} }}"
    return Case(fuse_gelu, name, text, {**ERF, **changes}, fuses)


def _tanh(name: str, body: str, *, fuses: bool = True, **changes: float) -> Case:
    text = f"(float[2,3] x) => (float[2,3] y) {{ {body} }}"
    return Case(fuse_gelu_tanh, name, text, {**TANH, **changes}, fuses)


GATE = "s = Div(x, root2)  e = Erf(s)  g = Add(e, one) "
CUBE = "p = Pow(x, three)  c = Mul(p, a)  s = Add(x, c) "
TANH_GATE = "m = Mul(s, b)  t = Tanh(m)  g = Add(t, one) "

CASES = (
    _erf("x_gate_half", GATE + "h = Mul(x, g)  y = Mul(h, half)"),
    _erf("half_x_gate", GATE + "h = Mul(half, x)  y = Mul(h, g)"),
    _erf("gate_half_x", GATE + "h = Mul(g, half)  y = Mul(x, h)"),
    _erf(
        "by_reciprocal_root",
        "s = Mul(iroot2, x)  e = Erf(s)  g = Add(one, e)  h = Mul(x, g)  y = Mul(h, half)",
    ),
    _erf("not_another_root", GATE + "h = Mul(x, g)  y = Mul(h, half)", fuses=False, root2=1.5),
    _erf("not_another_half", GATE + "h = Mul(x, g)  y = Mul(h, half)", fuses=False, half=0.7),
    Case(
        fuse_gelu, "not_when_gate_is_read_twice",
        "(float[2,3] x) => (float[2,3] y, float[2,3] g) {"
        + GATE + "h = Mul(x, g)  y = Mul(h, half) }",
        ERF, fuses=False,
    ),
    Case(
        fuse_gelu, "not_of_two_values",
        "(float[2,3] x, float[2,3] z) => (float[2,3] y) {"
        + GATE + "h = Mul(z, g)  y = Mul(h, half) }",
        ERF, fuses=False,
    ),
    Case(
        fuse_gelu, "not_double",
        "(double[2,3] x) => (double[2,3] y) {"
        "root2 = Constant <value = double {1.4142135623730951}> ()"
        "one = Constant <value = double {1.0}> ()  half = Constant <value = double {0.5}> ()"
        + GATE + "h = Mul(x, g)  y = Mul(h, half) }",
        fuses=False,
    ),
    _tanh("pow", CUBE + TANH_GATE + "h = Mul(x, half)  y = Mul(h, g)"),
    _tanh(
        "products",
        "q = Mul(x, x)  p = Mul(x, q)  c = Mul(a, p)  s = Add(x, c) "
        + TANH_GATE + "h = Mul(x, g)  y = Mul(h, half)",
    ),
    _tanh("gate_half_x", CUBE + TANH_GATE + "h = Mul(g, half)  y = Mul(x, h)"),
    _tanh("not_square", CUBE + TANH_GATE + "h = Mul(x, half)  y = Mul(h, g)",
          fuses=False, three=2.0),
    _tanh("not_another_factor", CUBE + TANH_GATE + "h = Mul(x, half)  y = Mul(h, g)",
          fuses=False, b=0.7),
    _tanh("not_another_cubic", CUBE + TANH_GATE + "h = Mul(x, half)  y = Mul(h, g)",
          fuses=False, a=0.05),
    Case(
        fuse_silu, "sigmoid",
        "(float[2,3] x) => (float[2,3] y) { s = Sigmoid(x)  y = Mul(s, x) }",
    ),
    Case(
        fuse_silu, "not_of_two_values",
        "(float[2,3] x, float[2,3] z) => (float[2,3] y) { s = Sigmoid(x)  y = Mul(s, z) }",
        fuses=False,
    ),
    Case(
        fuse_silu, "not_when_sigmoid_is_an_output",
        "(float[2,3] x) => (float[2,3] y, float[2,3] s) { s = Sigmoid(x)  y = Mul(s, x) }",
        fuses=False,
    ),
    Case(
        fuse_hardswish, "sixth",
        "(float[2,3] x) => (float[2,3] y) {"
        "s = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)  y = Mul(x, s) }",
    ),
    Case(
        fuse_hardswish, "not_the_default_slope",
        "(float[2,3] x) => (float[2,3] y) { s = HardSigmoid(x)  y = Mul(x, s) }",
        fuses=False,
    ),
)  # fmt: skip
