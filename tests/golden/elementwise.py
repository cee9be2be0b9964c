"""Element-wise programs: lowered, merged, moved into the product before them."""

from __future__ import annotations

import numpy as np

from colonnade.passes.fold_batch_norm import fold_batch_norm
from colonnade.passes.fuse_elementwise import (
    INPUTS_MAX,
    INSTRUCTIONS_MAX,
    fuse_epilogue,
    lower_elementwise,
    merge_elementwise,
)
from colonnade.passes.fuse_linear import fuse_linear
from golden.builder import Case, weights

PROGRAMS = (fold_batch_norm, fuse_linear, lower_elementwise, merge_elementwise)


def _lower(
    name: str, text: str, *, fuses: bool = True, opset: int = 17, **constants: float | np.ndarray
) -> Case:
    return Case(lower_elementwise, name, text, constants, fuses, opset=opset)


def _merge(name: str, text: str, *, fuses: bool = True, **constants: float | np.ndarray) -> Case:
    return Case(merge_elementwise, name, text, constants, fuses, after=(lower_elementwise,))


def _epilogue(name: str, text: str, *, fuses: bool = True, **changes: np.ndarray | float) -> Case:
    constants = {
        "w": weights(6, 4, 3, 3), "b": weights(6), "m": weights(8, 6), "three": 3.0,
        "gamma": weights(6, seed=5), "beta": weights(6, seed=6), "mean": weights(6, seed=7),
        "var": np.abs(weights(6, seed=8)) + np.float32(0.5),
        **changes,
    }  # fmt: skip
    return Case(fuse_epilogue, name, text, constants, fuses, after=PROGRAMS)


def _chain(op: str, count: int) -> str:
    steps = [f"v{i + 1} = {op}(v{i})" for i in range(count - 1)]
    return f"v0 = {op}(x) " + " ".join(steps) + f" y = {op}(v{count - 1})"


MANY = INPUTS_MAX // 2 + 1
MANY_INPUTS = ", ".join(f"float[3] {side}{i}" for side in "ab" for i in range(MANY))
IMAGE = "(float[2,4,7,6] x) => (float y)"
CONV = "c = Conv(x, w, b) "
X = "(float[2,3] x) => (float[2,3] y)"
XZ = "(float[2,3] x, float[2,3] z) => (float[2,3] y)"

CASES = (
    _lower("unary", f"{X} {{ y = Tanh(x) }}"),
    _lower("broadcast", "(float[2,3] x, float[3] z) => (float[2,3] y) { y = Sub(z, x) }"),
    _lower("sum_of_three", "(float[3] x, float[3] z, float[1] w) => (float[3] y) "
           "{ y = Sum(x, z, w) }"),
    _lower("attributes", f"{X} {{ y = LeakyRelu <alpha = 0.2> (x) }}"),
    _lower("clip", f"{X} {{ y = Clip(x, low, high) }}", low=-0.5, high=0.25),
    _lower("clip_without_low", f"{X} {{ y = Clip(x, , high) }}", high=0.25),
    _lower("clip_crossed", f"{X} {{ y = Clip(x, low, high) }}", low=1.0, high=0.25),
    _lower("clip_of_old_opset", f"{X} {{ y = Clip <min = 0.0, max = 0.5> (x) }}", opset=6),
    _lower("gelu", f"{X} {{ y = Gelu <approximate = \"tanh\"> (x) }}", opset=20),
    _lower(
        "eight_axes_that_join",
        "(float[2,1,2,1,2,1,2,2] x, float[1] z) => (float[2,1,2,1,2,1,2,2] y) { y = Add(x, z) }",
    ),
    _lower(
        "not_eight_axes_that_do_not_join",
        "(float[2,1,2,1,2,1,2,1] x, float[1,2,1,2,1,2,1,2] z) => (float y) { y = Add(x, z) }",
        fuses=False,
    ),
    _lower("not_integers", "(int64[2,3] x) => (int64[2,3] y) { y = Add(x, x) }", fuses=False),
    _lower("not_clip_by_values_of_the_run",
           "(float[2,3] x, float low) => (float[2,3] y) { y = Clip(x, low) }", fuses=False),
    _lower("not_power_of_integers",
           "(float[2,3] x, int64[3] z) => (float[2,3] y) { y = Pow(x, z) }", fuses=False),
    _lower("not_one_term", f"{X} {{ y = Softmax(x) }}", fuses=False),
    _merge("chain", f"{XZ} {{ s = Sigmoid(x)  m = Mul(s, z)  y = Add(m, x) }}"),
    _merge("of_both_operands", f"{X} {{ a = Tanh(x)  b = Sigmoid(x)  y = Mul(a, b) }}"),
    _merge("the_same_value_twice", f"{X} {{ a = Tanh(x)  y = Mul(a, a) }}"),
    _merge("not_what_is_read_twice",
           "(float[2,3] x) => (float[2,3] y, float[2,3] z) "
           "{ a = Tanh(x)  y = Exp(a)  s = Softmax(a)  z = Softmax(s) }", fuses=False),
    _merge("not_an_output", "(float[2,3] x) => (float[2,3] y, float[2,3] a) "
           "{ a = Tanh(x)  y = Exp(a) }", fuses=False),
    _merge("not_what_broadcasts", "(float[3] x, float[2,3] z) => (float[2,3] y) "
           "{ a = Tanh(x)  y = Add(a, z) }", fuses=False),
    _merge("long_chain_in_parts", f"{X} {{ {_chain('Abs', INSTRUCTIONS_MAX + 2)} }}"),
    _merge("not_too_many_operands",
           f"({MANY_INPUTS}) => (float[3] y) {{ s = Sum({', '.join(f'a{i}' for i in range(MANY))})"
           f"t = Sum({', '.join(f'b{i}' for i in range(MANY))})  e = Softmax(t)  y = Sum(s, e, "
           + ", ".join(f"b{i}" for i in range(MANY - 1)) + ") }", fuses=False),
    _epilogue("conv_relu", f"{IMAGE} {{ {CONV} y = Relu(c) }}"),
    _epilogue("conv_norm_residual_relu",
              "(float[2,4,7,6] x, float[2,6,5,4] r) => (float y) { c = Conv(x, w)"
              "n = BatchNormalization(c, gamma, beta, mean, var)  s = Add(n, r)  y = Relu(s) }"),
    _epilogue("conv_silu", f"{IMAGE} {{ {CONV} s = Sigmoid(c)  y = Mul(c, s) }}"),
    _epilogue("conv_scaled_by_channel", f"{IMAGE} {{ {CONV} y = Mul(c, scale) }}",
              scale=weights(6, 1, 1)),
    _epilogue("conv_transpose_tanh", f"{IMAGE} {{ c = ConvTranspose(x, w)  y = Tanh(c) }}",
              w=weights(4, 6, 3, 3)),
    _epilogue("conv_of_one_axis", "(float[2,4,7] x) => (float y) { c = Conv(x, w)  y = Relu(c) }",
              w=weights(6, 4, 3)),
    _epilogue("depthwise_clip",
              f"{IMAGE} {{ c = Conv <group = 4> (x, w)  y = Clip(c, low, high) }}",
              w=weights(4, 1, 3, 3), low=0.0, high=6.0),
    _epilogue("linear_gelu",
              "(float[3,8] x) => (float y) { p = MatMul(x, m)  q = Add(p, b)  y = Relu(q) }"),
    _epilogue("linear_residual_scaled",
              "(float[3,8] x, float[3,6] r) => (float y) { p = MatMul(x, m)  q = Div(p, three)"
              "y = Add(r, q) }"),
    _epilogue("sum_of_two_products_into_one",
              "(float[3,8] x, float[3,8] z) => (float y) { p = MatMul(x, m)  q = MatMul(z, m)"
              "y = Add(p, q) }"),
    _epilogue("not_a_product_read_twice",
              "(float[2,4,7,6] x) => (float y, float c) {" + CONV + "y = Relu(c) }", fuses=False),
    _epilogue("not_an_operand_by_pixel", f"{IMAGE} {{ {CONV} y = Mul(c, scale) }}", fuses=False,
              scale=weights(5, 4)),
    _epilogue("not_an_operand_that_grows",
              "(float[1,4,7,6] x, float[2,6,5,4] r) => (float y) {" + CONV + "y = Add(c, r) }",
              fuses=False),
    _epilogue("not_a_residual_of_grouped_conv",
              "(float[2,4,7,6] x, float[2,4,5,4] r) => (float y) {"
              "c = Conv <group = 4> (x, w)  y = Add(c, r) }", fuses=False, w=weights(4, 1, 3, 3)),
    _epilogue("not_a_residual_of_grouped_conv_of_one_pixel",
              "(float[1,4,3,3] x, float[1,4,1,1] r) => (float y) {"
              "c = Conv <group = 4> (x, w)  y = Add(c, r) }", fuses=False, w=weights(4, 1, 3, 3)),
    _epilogue("not_a_convolution_of_padding_only",
              "(float[1,4,0] x) => (float y) { c = Conv <pads = [2,2]> (x, w)  y = Relu(c) }",
              fuses=False, w=weights(4, 4, 3)),
    _epilogue("not_weights_of_the_run",
              "(float[2,4,7,6] x, float[6,4,3,3] v) => (float y) { c = Conv(x, v)  y = Relu(c) }",
              fuses=False),
    _epilogue("not_three_axes",
              "(float[1,2,4,4,4] x) => (float y) { c = Conv(x, w)  y = Relu(c) }", fuses=False,
              w=weights(3, 2, 2, 2, 2)),
)  # fmt: skip
