"""decompose: operators without a kernel of their own."""

from __future__ import annotations

from colonnade.passes.decompose import decompose
from golden.builder import Case

CASES = (
    Case(
        decompose,
        "gemm_of_activations",
        "(float[3,4] a, float[4,5] b, float[5] c) => (float[3,5] y)"
        " { y = Gemm <alpha = 0.5, beta = 2.0> (a, b, c) }",
        {},
        True,
    ),
    Case(
        decompose,
        "not_double",
        "(double[3,4] a, double[4,5] b) => (double[3,5] y) { y = Gemm (a, b) }",
        {},
        False,
    ),
)
