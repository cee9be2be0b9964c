"""Convolutions and matrix products: padding, batch normalisation, bias."""

from __future__ import annotations

import numpy as np

from colonnade.passes.fold_batch_norm import fold_batch_norm
from colonnade.passes.fuse_linear import fuse_linear
from colonnade.passes.fuse_pad import fuse_pad
from golden.builder import Case, Constants, ints, weights

NORM: Constants = {
    "w": weights(6, 4, 3, 3), "b": weights(6), "gamma": weights(6, seed=5),
    "beta": weights(6, seed=6), "mean": weights(6, seed=7),
    "var": np.abs(weights(6, seed=8)) + np.float32(0.5),
}  # fmt: skip
BN = "BatchNormalization <epsilon = 0.001> (c, gamma, beta, mean, var)"
IMAGE = "(float[2,4,7,6] x) => (float y)"


def _pad(name: str, body: str, constants: Constants, *, fuses: bool = True) -> Case:
    return Case(fuse_pad, name, f"{IMAGE} {{ {body} }}", {**NORM, **constants}, fuses)


def _norm(name: str, text: str, *, fuses: bool = True, **changes: np.ndarray) -> Case:
    return Case(fold_batch_norm, name, text, {**NORM, **changes}, fuses)


def _linear(name: str, text: str, *, fuses: bool = True, **changes: np.ndarray) -> Case:
    constants = {"w": weights(8, 5), "b": weights(5), "wt": weights(5, 8), **changes}
    return Case(fuse_linear, name, text, constants, fuses)


SPATIAL = {"pads": ints(0, 0, 1, 2, 0, 0, 0, 1)}

CASES = (
    _pad("into_conv", "p = Pad(x, pads)  y = Conv(p, w)", SPATIAL),
    _pad("adds_to_conv_pads", "p = Pad(x, pads)  y = Conv <pads = [1,1,1,1]> (p, w)", SPATIAL),
    _pad("zero_given", "p = Pad(x, pads, zero)  y = Conv(p, w)", {**SPATIAL, "zero": 0.0}),
    _pad(
        "into_average_pool_that_counts_padding",
        "p = Pad(x, pads)  y = AveragePool <kernel_shape = [2,2], count_include_pad = 1> (p)",
        SPATIAL,
    ),
    _pad("into_conv_of_one_of_two_readers",
         "p = Pad(x, pads)  c = Conv(p, w)  d = Conv(p, w)  y = Add(c, d)", SPATIAL),
    _pad("not_a_value", "p = Pad(x, pads, one)  y = Conv(p, w)", {**SPATIAL, "one": 1.0},
         fuses=False),
    _pad("not_reflected", 'p = Pad <mode = "reflect"> (x, pads)  y = Conv(p, w)', SPATIAL,
         fuses=False),
    _pad("not_negative", "p = Pad(x, pads)  y = Conv(p, w)",
         {"pads": ints(0, 0, 1, -1, 0, 0, 0, 1)}, fuses=False),
    _pad("not_the_batch", "p = Pad(x, pads)  y = Conv(p, w)",
         {"pads": ints(1, 0, 0, 0, 0, 0, 0, 1)}, fuses=False),
    _pad("not_auto_pad",
         'p = Pad(x, pads)  y = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (p, w)',
         SPATIAL, fuses=False),
    _pad("not_average_pool_that_skips_padding",
         "p = Pad(x, pads)  y = AveragePool <kernel_shape = [2,2]> (p)", SPATIAL, fuses=False),
    _pad("not_max_pool", "p = Pad(x, pads)  y = MaxPool <kernel_shape = [2,2]> (p)", SPATIAL,
         fuses=False),
    _norm("behind_conv", f"{IMAGE} {{ c = Conv(x, w, b)  y = {BN} }}"),
    _norm("behind_conv_without_bias", f"{IMAGE} {{ c = Conv(x, w)  y = {BN} }}"),
    _norm("behind_grouped_conv",
          f"{IMAGE} {{ c = Conv <group = 2> (x, w)  y = {BN} }}", w=weights(6, 2, 3, 3)),
    _norm("behind_transposed_conv", f"{IMAGE} {{ c = ConvTranspose(x, w, b)  y = {BN} }}",
          w=weights(4, 6, 3, 3)),
    _norm("alone", f"(float[2,6,3,3] c) => (float[2,6,3,3] y) {{ y = {BN} }}"),
    _norm("of_a_matrix", f"(float[2,6] c) => (float[2,6] y) {{ y = {BN} }}"),
    _norm("as_scale_when_conv_is_read_twice",
          f"(float[2,4,7,6] x) => (float y, float c) {{ c = Conv(x, w)  y = {BN} }}"),
    _norm("as_scale_behind_transposed_groups",
          f"{IMAGE} {{ c = ConvTranspose <group = 2> (x, w, b)  y = {BN} }}",
          w=weights(4, 3, 3, 3)),
    _norm("not_with_statistics_of_the_run",
          "(float[2,6,3,3] c, float[6] mean2) => (float[2,6,3,3] y) {"
          "y = BatchNormalization(c, gamma, beta, mean2, var) }", fuses=False),
    _norm("not_in_training",
          "(float[2,6,3,3] c) => (float[2,6,3,3] y, float[6] m, float[6] v) {"
          "y, m, v = BatchNormalization <training_mode = 1> (c, gamma, beta, mean, var) }",
          fuses=False),
    _linear("matmul", "(float[2,3,8] x) => (float[2,3,5] y) { y = MatMul(x, w) }"),
    _linear("matmul_bias",
            "(float[2,3,8] x) => (float[2,3,5] y) { p = MatMul(x, w)  y = Add(b, p) }"),
    _linear("gemm", "(float[3,8] x) => (float[3,5] y) { y = Gemm(x, w, b) }"),
    _linear("gemm_transposed_beta",
            "(float[3,8] x) => (float[3,5] y) { y = Gemm <transB = 1, beta = 0.5> (x, wt, b) }"),
    _linear("gemm_without_bias", "(float[3,8] x) => (float[3,5] y) { y = Gemm(x, w) }"),
    _linear("gemm_alpha",
            "(float[3,8] x) => (float[3,5] y) { y = Gemm <alpha = 0.25> (x, w, b) }"),
    _linear("gemm_bias_of_one_value",
            "(float[3,8] x) => (float[3,5] y) { y = Gemm(x, w, b) }", b=weights(1)),
    _linear("product_without_a_residual",
            "(float[2,8] x, float[2,5] r) => (float[2,5] y) { p = MatMul(x, w)  y = Add(p, r) }"),
    _linear("product_without_a_bias_by_row",
            "(float[5,8] x) => (float[5,5] y) { p = MatMul(x, w)  y = Add(p, b) }",
            b=weights(5, 1)),
    _linear("product_read_twice",
            "(float[2,8] x) => (float[2,5] y, float[2,5] p) { p = MatMul(x, w)  y = Add(p, b) }"),
    _linear("product_without_a_growing_bias",
            "(float[2,8] x) => (float[1,2,5] y) { p = MatMul(x, w)  y = Add(p, b) }",
            b=weights(1, 1, 5)),
    _linear("not_weights_of_the_run",
            "(float[3,8] x, float[8,5] z) => (float[3,5] y) { y = MatMul(x, z) }", fuses=False),
    _linear("not_a_batch_of_weights",
            "(float[2,3,8] x) => (float[2,3,5] y) { y = MatMul(x, w) }", fuses=False,
            w=weights(2, 8, 5)),
    _linear("not_a_shape_known_at_run_time",
            "(float[2,3] x) => (float y) { n = NonZero(x)  t = Transpose <perm = [1,0]> (n)"
            "c = Cast <to = 1> (t)  y = MatMul(c, w) }", fuses=False, w=weights(2, 5)),
    _linear("not_a_vector", "(float[8] x) => (float[5] y) { y = MatMul(x, w) }", fuses=False),
    _linear("not_gemm_of_a_transposed_input",
            "(float[8,3] x) => (float[3,5] y) { y = Gemm <transA = 1> (x, w, b) }", fuses=False),
    _linear("not_gemm_with_a_bias_by_row",
            "(float[3,8] x) => (float[3,5] y) { y = Gemm(x, w, b) }", fuses=False,
            b=weights(3, 1)),
)  # fmt: skip
