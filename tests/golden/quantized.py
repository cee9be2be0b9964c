"""Quantized graphs of every producer: what is folded to our products, and near misses.

Scales are powers of two, so that float32 arithmetic is exact and answers must be equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from colonnade.passes.adopt_integer_products import adopt_integer_products
from colonnade.passes.adopt_quantized_products import adopt_quantized_products
from colonnade.passes.dequantize_products import dequantize_products
from colonnade.passes.expand_qlinear import expand_qlinear
from colonnade.passes.fold_dequantized import fold_dequantized
from colonnade.passes.fold_output_quantization import fold_output_quantization
from colonnade.passes.fold_product_bias import fold_product_bias
from colonnade.passes.fold_quantized_products import fold_quantized_products
from colonnade.passes.fuse_quantized_pad import fuse_quantized_pad
from colonnade.passes.move_dequantize import move_dequantize
from colonnade.passes.move_quantize import move_quantize
from colonnade.passes.remove_requantize import remove_requantize
from colonnade.passes.remove_saturated_clip import remove_saturated_clip
from colonnade.passes.runner import Pass
from colonnade.passes.unpack_block_weights import unpack_block_weights
from colonnade.passes.widen_max_pool import widen_max_pool
from golden.builder import Case, Constants, ints, weights


def int8(*shape: int) -> np.ndarray:
    """Random numbers, the same for the same shape."""
    return np.random.default_rng([29, *shape]).integers(-128, 128, shape).astype(np.int8)


def uint8(*shape: int) -> np.ndarray:
    """Random numbers, the same for the same shape."""
    return np.random.default_rng([31, *shape]).integers(0, 256, shape).astype(np.uint8)


def powers(count: int) -> np.ndarray:
    """Scales."""
    return np.float32(2) ** -np.arange(4, 4 + count, dtype=np.float32)


PARAMETERS: Constants = {
    "xs": 0.125, "xz": np.uint8(120), "sz": np.int8(-3), "ys": 0.5, "yz": np.uint8(100),
    "ws": 0.0625, "wz": np.int8(0), "half": np.uint8(128), "ws5": powers(5), "ws6": powers(6),
    "low": np.uint8(0), "two": 2.0,
}  # fmt: skip
X = "q = QuantizeLinear(x, xs, xz)  d = DequantizeLinear(q, xs, xz)"
IMAGE = "(float[2,4,7,6] x) => (float y)"
ROWS = "(float[2,3,8] x) => (float y)"
MATRIX = "(float[3,8] x) => (float y)"


def _case(
    one_pass: Pass,
    name: str,
    text: str,
    *,
    fuses: bool = True,
    after: Sequence[Pass] = (),
    has_reference: bool = True,
    feeds: dict[str, np.ndarray] | None = None,
    **constants: np.ndarray | float,
) -> Case:
    given = {
        key: value if isinstance(value, float) else np.asarray(value)
        for key, value in {**PARAMETERS, **constants}.items()
    }
    return Case(one_pass, name, text, given, fuses, after, 21, feeds or {}, has_reference)


def _fold(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return _case(fold_quantized_products, name, text, fuses=fuses, **constants)


FOLDED = (
    _fold("conv_by_channel",
          f"{IMAGE} {{ {X} w = DequantizeLinear <axis = 0> (wq, ws6, wz6)"
          " y = Conv <pads = [1,1,1,1], strides = [2,2]> (d, w, b) }",
          wq=int8(6, 4, 3, 3), wz6=np.zeros(6, np.int8), b=weights(6)),
    _fold("conv_int32_bias",
          f"{IMAGE} {{ {X} w = DequantizeLinear(wq, ws, wz)  b = DequantizeLinear(bq, bs)"
          " y = Conv(d, w, b) }",
          wq=int8(6, 4, 3, 3), bq=np.arange(-3, 3, dtype=np.int32) * 100, bs=0.0078125),
    _fold("conv_by_group_of_one_axis",
          "(float[2,4,9] x) => (float y) {" f"{X} w = DequantizeLinear(wq, ws)"
          " y = Conv <group = 2, auto_pad = \"SAME_UPPER\"> (d, w) }", wq=int8(6, 2, 3)),
    _fold("conv_uint8_weights",
          f"{IMAGE} {{ {X} w = DequantizeLinear(wq, ws, half)  y = Conv(d, w) }}",
          wq=uint8(6, 4, 3, 3)),
    _fold("matmul_by_column",
          f"{ROWS} {{ {X} w = DequantizeLinear <axis = -1> (wq, ws5, wz5)  y = MatMul(d, w) }}",
          wq=int8(8, 5), wz5=np.arange(5, dtype=np.int8)),
    _fold("matmul_scales_of_one_element",
          "(float[2,8] x) => (float y) { q = QuantizeLinear <axis = 1> (x, xs1, xz1)"
          " d = DequantizeLinear <axis = 1> (q, xs1, xz1)"
          " w = DequantizeLinear(wq, ws)  y = MatMul(d, w) }",
          wq=int8(8, 5), xs1=np.array([0.25], np.float32), xz1=np.array([7], np.int8)),
    _fold("matmul_of_activations",
          "(float[2,3,8] x, float[2,8,4] z) => (float y) {" f"{X}"
          " r = QuantizeLinear(z, ys, sz)  e = DequantizeLinear(r, ys, sz)  y = MatMul(d, e) }"),
    _fold("gemm_turned",
          f"{MATRIX} {{ {X} w = DequantizeLinear <axis = 0> (wq, ws5, wz5)"
          " y = Gemm <transB = 1, beta = 0.5> (d, w, b) }",
          wq=int8(5, 8), wz5=np.zeros(5, np.int8), b=weights(1, 5)),
    _fold("scale_of_the_run",
          f"{MATRIX} {{ q, s, z = DynamicQuantizeLinear(x)  d = DequantizeLinear(q, s, z)"
          " w = DequantizeLinear(wq, ws)  y = MatMul(d, w) }", wq=int8(8, 5)),
    _fold("activation_read_by_others",
          "(float[3,8] x) => (float y, float t) {" f"{X} w = DequantizeLinear(wq, ws)"
          " y = MatMul(d, w)  t = Tanh(d) }", wq=int8(8, 5)),
    _fold("not_an_activation_in_float32",
          f"{MATRIX} {{ w = DequantizeLinear(wq, ws)  y = MatMul(x, w) }}", fuses=False,
          wq=int8(8, 5)),
    _fold("not_weights_in_float32", f"{MATRIX} {{ {X} y = MatMul(d, w) }}", fuses=False,
          w=weights(8, 5)),
    _fold("not_weights_by_input",
          f"{MATRIX} {{ {X} w = DequantizeLinear <axis = 0> (wq, ws8)  y = MatMul(d, w) }}",
          fuses=False, wq=int8(8, 5), ws8=powers(8)),
    _fold("not_an_activation_by_feature",
          f"{MATRIX} {{ q = QuantizeLinear(x, ws8)  d = DequantizeLinear(q, ws8)"
          " w = DequantizeLinear(wq, ws)  y = MatMul(d, w) }",
          fuses=False, wq=int8(8, 5), ws8=powers(8)),
    _fold("not_a_bias_of_the_run",
          "(float[2,4,7,6] x, float[6] b) => (float y) {" f"{X} w = DequantizeLinear(wq, ws)"
          " y = Conv(d, w, b) }", fuses=False, wq=int8(6, 4, 3, 3)),
    _fold("not_gemm_with_a_factor",
          f"{MATRIX} {{ {X} w = DequantizeLinear(wq, ws)  y = Gemm <alpha = 0.5> (d, w) }}",
          fuses=False, wq=int8(8, 5)),
    _fold("not_gemm_with_a_bias_by_row",
          "(float[5,8] x) => (float y) {" f"{X} w = DequantizeLinear(wq, ws)"
          " y = Gemm (d, w, b) }", fuses=False, wq=int8(8, 5), b=weights(5, 1)),
    _fold("not_16_bits",
          f"{MATRIX} {{ q = QuantizeLinear(x, xs, z16)  d = DequantizeLinear(q, xs, z16)"
          " w = DequantizeLinear(wq, ws)  y = MatMul(d, w) }",
          fuses=False, wq=int8(8, 5), z16=np.array(5, np.int16)),
)  # fmt: skip

ADD = f"{X} w = DequantizeLinear(wq, ws)  p = MatMul(d, w)  y = Add(p, b)"


def _bias(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return _case(
        fold_product_bias, name, text, fuses=fuses, after=(fold_quantized_products,), **constants
    )


BIASES = (
    _bias("matmul", f"{ROWS} {{ {ADD} }}", wq=int8(8, 5), b=weights(5)),
    _bias("conv",
          f"{IMAGE} {{ {X} w = DequantizeLinear(wq, ws)  p = Conv(d, w)  y = Add(b, p) }}",
          wq=int8(6, 4, 3, 3), b=weights(6, 1, 1)),
    _bias("not_by_row", f"{ROWS} {{ {ADD} }}", fuses=False, wq=int8(8, 5), b=weights(3, 1)),
    _bias("not_one_that_grows", f"{ROWS} {{ {ADD} }}", fuses=False, wq=int8(8, 5),
          b=weights(1, 1, 1, 5)),
    _bias("not_of_the_run", "(float[2,3,8] x, float[5] b) => (float y) {" f" {ADD} }}",
          fuses=False, wq=int8(8, 5)),
    _bias("not_when_the_product_is_read_twice",
          "(float[2,3,8] x) => (float y, float p) {" f" {ADD} }}", fuses=False, wq=int8(8, 5),
          b=weights(5)),
)  # fmt: skip

PRODUCT = f"{X} w = DequantizeLinear(wq, ws)  p = MatMul(d, w)"


def _output(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return _case(
        fold_output_quantization, name, text, fuses=fuses,
        after=(fold_quantized_products, fold_product_bias), wq=int8(8, 5), b=weights(5), **constants,
    )  # fmt: skip


OUTPUTS = (
    _output("linear", "(float[3,8] x) => (uint8 y) {" f"{PRODUCT}  y = QuantizeLinear(p, ys, yz) }}"),
    _output("linear_bias_int8",
            "(float[3,8] x) => (int8 y) {" f"{PRODUCT} s = Add(p, b) y = QuantizeLinear(s, ys, sz) }}"),
    _output("without_a_zero_point", "(float[3,8] x) => (uint8 y) {" f"{PRODUCT}  y = QuantizeLinear(p, ys) }}"),
    _output("matmul_of_activations",
            "(float[2,3,8] x, float[2,8,4] z) => (int8 y) {" f"{X}"
            " r = QuantizeLinear(z, ys, sz)  e = DequantizeLinear(r, ys, sz)  p = MatMul(d, e)"
            " y = QuantizeLinear(p, ys, sz) }"),
    _output("not_when_the_product_is_read_twice",
            "(float[3,8] x) => (uint8 y, float p) {" f"{PRODUCT}  y = QuantizeLinear(p, ys, yz) }}",
            fuses=False),
    _output("not_by_feature",
            "(float[3,8] x) => (uint8 y) {" f"{PRODUCT}  y = QuantizeLinear(p, ws5) }}", fuses=False),
    _output("not_16_bits",
            "(float[3,8] x) => (int16 y) {" f"{PRODUCT}  y = QuantizeLinear(p, ys, z16) }}",
            fuses=False, z16=np.array(5, np.int16)),
)  # fmt: skip


def _down(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return _case(move_dequantize, name, text, fuses=fuses, **constants)


TURN = "Transpose <perm = [0,2,1]>"
MOVED_DOWN = (
    _down("weights_turned",
          f"{MATRIX} {{ {X} w = DequantizeLinear <axis = 0> (wq, ws5, wz5)  t = Transpose(w)"
          " y = MatMul(d, t) }", wq=int8(5, 8), wz5=np.zeros(5, np.int8)),
    _down("weights_reshaped",
          f"{MATRIX} {{ {X} w = DequantizeLinear(wq, ws)  t = Reshape(w, s) y = MatMul(d, t) }}",
          wq=int8(2, 4, 5), s=ints(8, 5)),
    _down("activation_turned_and_reshaped",
          "(float[2,8,3] x) => (float y) {" f"{X} t = {TURN} (d)  r = Reshape(t, s)"
          " w = DequantizeLinear(wq, ws)  y = MatMul(r, w) }", wq=int8(8, 5), s=ints(6, 8)),
    _case(move_dequantize, "embedding",
          "(int64[2,3] i) => (float y) { t = DequantizeLinear(table, ws, half)  y = Gather(t, i) }",
          table=uint8(9, 8), feeds={"i": np.array([[1, 8, 0], [3, 3, 5]])}),
    _down("split",
          "(float[2,8] x) => (float y) {" f"{X} a, b = Split <axis = 1, num_outputs = 2> (d)"
          " w = DequantizeLinear(wq, ws)  p = MatMul(a, w)  y = Add(p, b) }", wq=int8(4, 4)),
    _down("concat_of_alike",
          "(float[2,3] x, float[2,5] z) => (float y) {" f"{X}"
          " r = QuantizeLinear(z, xs, xz)  e = DequantizeLinear(r, xs2, xz2)"
          " c = Concat <axis = 1> (d, e)  w = DequantizeLinear(wq, ws)  y = MatMul(c, w) }",
          wq=int8(8, 5), xs2=np.array([0.125], np.float32), xz2=np.array([120], np.uint8)),
    _down("up_to_a_quantize",
          "(float[2,3,4] x) => (uint8 y) {" f"{X} t = {TURN} (d) y = QuantizeLinear(t, ys, yz) }}"),
    _down("not_concat_of_other_scales",
          "(float[2,3] x, float[2,5] z) => (float y) {" f"{X}"
          " r = QuantizeLinear(z, ys, xz)  e = DequantizeLinear(r, ys, xz)"
          " c = Concat <axis = 1> (d, e)  w = DequantizeLinear(wq, ws)  y = MatMul(c, w) }",
          fuses=False, wq=int8(8, 5)),
    _down("not_where_nobody_wants_integers",
          "(float[2,3,4] x) => (float y) {" f"{X} t = {TURN} (d)  y = Tanh(t) }}", fuses=False),
    _down("not_scales_by_row_reshaped",
          f"{MATRIX} {{ {X} w = DequantizeLinear <axis = 0> (wq, ws4)  t = Reshape(w, s)"
          " y = MatMul(d, t) }", fuses=False, wq=int8(4, 10), ws4=powers(4), s=ints(8, 5)),
    _down("max_pool",
          f"{IMAGE} {{ {X} p = MaxPool <kernel_shape = [2,2], pads = [1,1,1,1]> (d)"
          " w = DequantizeLinear(wq, ws)  y = Conv(p, w) }", wq=int8(6, 4, 3, 3)),
    _down("zero_padding_up_to_a_quantize",
          "(float[2,3,4] x) => (uint8 y) {" f"{X} t = Pad(d, pads) y = QuantizeLinear(t, ys, yz) }}",
          pads=ints(0, 0, 1, 0, 0, 2)),
    _down("not_padding_with_another_value",
          "(float[2,3,4] x) => (uint8 y) {" f"{X} t = Pad(d, pads, two)"
          " y = QuantizeLinear(t, ys, yz) }", fuses=False, pads=ints(0, 0, 1, 0, 0, 2)),
    _down("not_max_pool_with_indices",
          "(float[2,4,7,6] x) => (float y, int64 i) {" f"{X} p, i = MaxPool <kernel_shape = [2,2]> (d)"
          " w = DequantizeLinear(wq, ws)  y = Conv(p, w) }", fuses=False, wq=int8(6, 4, 3, 3)),
)  # fmt: skip


def _again(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return _case(remove_requantize, name, text, fuses=fuses, **constants)


AGAIN = (
    _again("same", "(float[2,3] x) => (uint8 y) {" f"{X} y = QuantizeLinear(d, xs, xz) }}"),
    _again("scale_written_twice",
           "(float[2,3] x) => (uint8 y, float d) {" f"{X} y = QuantizeLinear(d, xs2, xz) }}",
           xs2=np.array([0.125], np.float32)),
    _again("not_another_scale",
           "(float[2,3] x) => (uint8 y) {" f"{X} y = QuantizeLinear(d, xs2, xz) }}", fuses=False,
           xs2=np.float32(0.126)),
    _again("not_another_type",
           "(float[2,3] x) => (int8 y) {" f"{X} y = QuantizeLinear(d, xs, sz) }}", fuses=False),
    _again("not_another_zero_point",
           "(float[2,3] x) => (uint8 y) {" f"{X} y = QuantizeLinear(d, xs, yz) }}", fuses=False),
    _again("not_a_scale_that_overflows",
           "(float[2,3] x) => (uint8 y) { q = QuantizeLinear(x, huge, xz)"
           " d = DequantizeLinear(q, huge, xz)  y = QuantizeLinear(d, huge, xz) }", fuses=False,
           huge=np.float32(3e38)),
    _again("not_of_the_run",
           "(float[2,3] x) => (uint8 y) { q, s, z = DynamicQuantizeLinear(x)"
           " d = DequantizeLinear(q, s, z)  y = QuantizeLinear(d, s, z) }", fuses=False),
)  # fmt: skip


def _clip(name: str, body: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    text = f"(float[2,40] x) => (uint8 y) {{ {body} }}"
    return _case(remove_saturated_clip, name, text, fuses=fuses, **constants)


CLIPS = (
    _clip("relu", "r = Relu(x)  y = QuantizeLinear(r, xs, low)"),
    _clip("relu6", "r = Clip(x, zero, six)  y = QuantizeLinear(r, fine, low)", zero=0.0, six=6.0,
          fine=np.float32(6 / 255)),
    _case(remove_saturated_clip, "relu_that_others_read",
          "(float[2,40] x) => (uint8 y, float r) { r = Relu(x)  y = QuantizeLinear(r, xs, low) }"),
    _clip("not_relu_above_the_zero_point", "r = Relu(x)  y = QuantizeLinear(r, xs, xz)", fuses=False),
    _clip("not_a_bound_below_the_greatest", "r = Clip(x, zero, one)  y = QuantizeLinear(r, xs, low)",
          fuses=False, zero=0.0, one=1.0),
    _clip("not_a_scale_by_column", "r = Relu(x)  y = QuantizeLinear(r, xs40)", fuses=False,
          xs40=powers(40)),
    _clip("not_crossed_bounds", "r = Clip(x, six, zero)  y = QuantizeLinear(r, fine, low)",
          fuses=False, zero=0.0, six=6.0, fine=np.float32(6 / 255)),
)  # fmt: skip


def _up(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return _case(
        move_quantize, name, text, fuses=fuses, after=(fold_quantized_products,), wq=int8(8, 5),
        **constants,
    )  # fmt: skip


MOVED_UP = (
    _up("reshape_and_transpose",
        "(float[6,8] x) => (uint8 y) {" f"{PRODUCT}  r = Reshape(p, s)  t = {TURN} (r)"
        " y = QuantizeLinear <axis = 1> (t, ys, yz) }", s=ints(2, 3, 5)),
    _up("not_by_feature",
        "(float[6,8] x) => (uint8 y) {" f"{PRODUCT}  r = Reshape(p, s)  y = QuantizeLinear(r, ws3) }}",
        fuses=False, s=ints(2, 3, 5), ws3=powers(3)),
    _up("not_when_the_product_is_read_twice",
        "(float[6,8] x) => (uint8 y, float p) {" f"{PRODUCT}  r = Reshape(p, s)"
        " y = QuantizeLinear(r, ys, yz) }", fuses=False, s=ints(2, 3, 5)),
    _up("not_without_a_product",
        "(float[6,5] p) => (uint8 y) { r = Reshape(p, s) y = QuantizeLinear(r, ys, yz) }",
        fuses=False, s=ints(2, 3, 5)),
)  # fmt: skip

DEQUANTIZED = (
    _case(fold_dequantized, "weights_by_column",
          f"{MATRIX} {{ w = DequantizeLinear <axis = 1> (wq, ws5, wz5)  y = MatMul(x, w) }}",
          wq=int8(8, 5), wz5=np.arange(5, dtype=np.int8)),
    _case(fold_dequantized, "uint8_whose_zeros_are_128",
          f"{IMAGE} {{ w = DequantizeLinear(wq, ws, half)  y = Conv(x, w) }}",
          wq=uint8(6, 4, 3, 3)),
    _case(fold_dequantized, "not_an_activation", f"{MATRIX} {{ {X} y = Tanh(d) }}", fuses=False),
)  # fmt: skip

FOLDS = (fold_quantized_products, fold_product_bias, fold_output_quantization)
IN_FLOAT = (
    _case(dequantize_products, "linear",
          "(float[3,8] x) => (uint8 y) {" f"{PRODUCT} s = Add(p, b) y = QuantizeLinear(s, ys, yz) }}",
          after=FOLDS, wq=int8(8, 5), b=weights(5)),
    _case(dequantize_products, "conv_by_channel",
          f"{IMAGE} {{ {X} w = DequantizeLinear <axis = 0> (wq, ws6, wz6)"
          " y = Conv <pads = [1,1,1,1]> (d, w, b) }",
          after=FOLDS, wq=int8(6, 4, 3, 3), wz6=np.arange(6, dtype=np.int8), b=weights(6)),
    _case(dequantize_products, "matmul_of_activations",
          "(float[2,3,8] x, float[2,8,4] z) => (int8 y) {" f"{X}"
          " r = QuantizeLinear(z, ys, sz)  e = DequantizeLinear(r, ys, sz)  p = MatMul(d, e)"
          " y = QuantizeLinear(p, ys, sz) }", after=FOLDS),
    _case(dequantize_products, "scale_of_the_run",
          f"{MATRIX} {{ q, s, z = DynamicQuantizeLinear(x)  d = DequantizeLinear(q, s, z)"
          " w = DequantizeLinear <axis = 1> (wq, ws5)  y = MatMul(d, w) }", after=FOLDS,
          wq=int8(8, 5)),
    _case(dequantize_products, "not_a_product_in_float32",
          f"{MATRIX} {{ y = MatMul(x, w) }}", fuses=False, w=weights(8, 5)),
)  # fmt: skip


def _integer(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return _case(adopt_integer_products, name, text, fuses=fuses, **constants)


DYNAMIC = "q, s, z = DynamicQuantizeLinear(x)"
INTEGER = (
    _integer("dynamic",
             f"{MATRIX} {{ {DYNAMIC} p = MatMulInteger(q, wq, z, wz)  c = Cast <to = 1> (p)"
             " f = Mul(s, ws)  y = Mul(c, f) }", wq=int8(8, 5)),
    _integer("dynamic_by_column",
             f"{MATRIX} {{ {DYNAMIC} p = MatMulInteger(q, wq, z, wz5)  c = Cast <to = 1> (p)"
             " f = Mul(s, ws5)  y = Mul(f, c) }", wq=uint8(8, 5), wz5=uint8(5)),
    _integer("dynamic_conv",
             f"{IMAGE} {{ {DYNAMIC} p = ConvInteger <pads = [1,1,1,1]> (q, wq, z, half)"
             " c = Cast <to = 1> (p)  f = Mul(s, ws)  y = Mul(c, f) }", wq=uint8(6, 4, 3, 3)),
    _integer("sparseml_conv",
             f"{IMAGE} {{ q = QuantizeLinear(x, xs, xz)  p = ConvInteger(q, wq, xz, half)"
             " a = Add(p, bq)  c = Cast <to = 1> (a)  y = Mul(c, by_channel) }",
             wq=uint8(6, 4, 3, 3), bq=np.arange(6, dtype=np.int32).reshape(1, 6, 1, 1) * 50,
             by_channel=powers(6).reshape(1, 6, 1, 1)),
    _integer("sparseml_matmul",
             f"{ROWS} {{ q = QuantizeLinear(x, xs, xz)  t = Transpose(wq)"
             " p = MatMulInteger(q, t, xz, half)  a = Add(bq, p)  c = Cast <to = 1> (a)"
             " y = Mul(c, ws) }", wq=uint8(5, 8), bq=np.arange(5, dtype=np.int32) * 50),
    _integer("sparseml_activations",
             "(float[2,3,8] x, float[2,8,4] z) => (float y) { q = QuantizeLinear(x, xs, xz)"
             " r = QuantizeLinear(z, ys, yz)  p = MatMulInteger(q, r, xz, yz)"
             " c = Cast <to = 1> (p)  y = Mul(c, ws) }"),
    _integer("not_sums_read_twice",
             "(float[3,8] x) => (float y, int32 p) {" f"{DYNAMIC} p = MatMulInteger(q, wq, z, wz)"
             " c = Cast <to = 1> (p)  y = Mul(c, s) }", fuses=False, wq=int8(8, 5)),
    _integer("not_zero_points_by_row",
             f"{MATRIX} {{ q = QuantizeLinear(x, xs, xz)  p = MatMulInteger(q, wq, xz3, wz)"
             " c = Cast <to = 1> (p)  y = Mul(c, ws) }", fuses=False, wq=int8(8, 5), xz3=uint8(3)),
    _integer("not_a_scale_by_row",
             f"{MATRIX} {{ {DYNAMIC} p = MatMulInteger(q, wq, z, wz)  c = Cast <to = 1> (p)"
             " y = Mul(c, by_row) }", fuses=False, wq=int8(8, 5), by_row=powers(3).reshape(3, 1)),
    _integer("not_cast_to_double",
             "(float[3,8] x) => (double y) {" f"{DYNAMIC} p = MatMulInteger(q, wq, z, wz)"
             " c = Cast <to = 11> (p)  y = Mul(c, wide) }", fuses=False, wq=int8(8, 5),
             wide=np.array(0.5)),
    _integer("not_steps_known_at_run_time",
             f"{MATRIX} {{ {DYNAMIC} p = MatMulInteger(q, wq, z, wz)  a = Add(p, bq)"
             " c = Cast <to = 1> (a)  f = Mul(s, ws)  y = Mul(c, f) }", fuses=False,
             wq=int8(8, 5), bq=np.arange(5, dtype=np.int32)),
)  # fmt: skip

Q8 = "(float[2,4,7,6] x) => (uint8 y) { q = QuantizeLinear(x, xs, xz)"
M8 = "(float[3,8] x) => (uint8 y) { q = QuantizeLinear(x, xs, xz)"
MS = "com.microsoft."


def _operator(
    name: str,
    text: str,
    *,
    fuses: bool = True,
    contrib: bool = False,
    **constants: np.ndarray | float,
) -> Case:
    return _case(
        adopt_quantized_products, name, text, fuses=fuses, has_reference=not contrib, **constants
    )


OPERATORS = (
    _operator("conv",
              f"{Q8} y = QLinearConv <pads = [1,1,1,1]> (q, xs, xz, wq, ws6, wz6, ys, yz, bq) }}",
              wq=int8(6, 4, 3, 3), wz6=np.zeros(6, np.int8),
              bq=np.arange(6, dtype=np.int32) * 100),
    _operator("conv_uint8_weights",
              f"{Q8} y = QLinearConv <group = 2> (q, xs, xz, wq, ws, half, ys, yz) }}",
              wq=uint8(6, 2, 3, 3)),
    _operator("matmul", f"{M8} y = QLinearMatMul(q, xs, xz, wq, ws, wz, ys, yz) }}", wq=int8(8, 5)),
    _operator("matmul_of_activations",
              "(float[2,3,8] x, float[2,8,4] z) => (uint8 y) { q = QuantizeLinear(x, xs, xz)"
              " r = QuantizeLinear(z, ys, yz)"
              " y = QLinearMatMul(q, xs, xz, r, ys, yz, two, yz) }"),
    _operator("gemm",
              f"{M8} y = {MS}QGemm <transB = 1> (q, xs, xz, wq, ws5, wz5, bq, ys, yz) }}",
              contrib=True, wq=int8(5, 8), wz5=np.zeros(5, np.int8),
              bq=np.arange(5, dtype=np.int32) * 100),
    _operator("gemm_to_float",
              "(float[3,8] x) => (float y) { q = QuantizeLinear(x, xs, xz)"
              f" y = {MS}QGemm(q, xs, xz, wq, ws, wz) }}", contrib=True, wq=int8(8, 5)),
    _operator("matmul_to_float",
              "(float[3,8] x) => (float y) { q = QuantizeLinear(x, xs, xz)"
              f" y = {MS}MatMulIntegerToFloat(q, wq, xs, ws, xz, half, b) }}", contrib=True,
              wq=uint8(8, 5), b=weights(5)),
    _operator("dynamic_matmul",
              f"(float[3,8] x) => (float y) {{ y = {MS}DynamicQuantizeMatMul(x, wq, ws5, wz5, b) }}",
              contrib=True, wq=int8(8, 5), wz5=np.zeros(5, np.int8), b=weights(5)),
    _operator("not_weights_of_the_run",
              "(float[2,4,7,6] x, uint8[6,4,3,3] wq) => (uint8 y) { q = QuantizeLinear(x, xs, xz)"
              " y = QLinearConv(q, xs, xz, wq, ws, half, ys, yz) }", fuses=False),
    _operator("not_scales_by_row",
              f"{M8} y = QLinearMatMul(q, xs3, xz3, wq, ws, wz, ys, yz) }}", fuses=False,
              wq=int8(8, 5), xs3=powers(3), xz3=uint8(3)),
    _operator("not_gemm_with_a_factor",
              f"{M8} y = {MS}QGemm <alpha = 0.5> (q, xs, xz, wq, ws, wz, , ys, yz) }}",
              fuses=False, wq=int8(8, 5)),
)  # fmt: skip


def _qlinear(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return _case(expand_qlinear, name, text, fuses=fuses, has_reference=False, **constants)


PAIR = (
    "(float[2,4,3,5] x, float[4,1,1] z) => (uint8 y) { q = QuantizeLinear(x, xs, xz)"
    " r = QuantizeLinear(z, ys, yz)"
)
ONE = "q, xs, xz, ys, yz"
QLINEAR = (
    _qlinear("add", f"{PAIR} y = {MS}QLinearAdd(q, xs, xz, r, ys, yz, two, yz) }}"),
    _qlinear("mul", f"{PAIR} y = {MS}QLinearMul(q, xs, xz, r, ys, yz, two, yz) }}"),
    _qlinear("concat",
             "(float[2,4] x, float[2,3] z) => (uint8 y) { q = QuantizeLinear(x, xs, xz)"
             f" r = QuantizeLinear(z, ys, yz)"
             f" y = {MS}QLinearConcat <axis = 1> (two, yz, q, xs, xz, r, ys, yz) }}"),
    _qlinear("leaky_relu", f"{M8} y = {MS}QLinearLeakyRelu <alpha = 0.25> ({ONE}) }}"),
    _qlinear("sigmoid", f"{M8} y = {MS}QLinearSigmoid(q, xs, xz, sixtyfourth, low) }}",
             sixtyfourth=0.015625),
    _qlinear("softmax",
             f"{M8} y = {MS}QLinearSoftmax <axis = 1, opset = 13> (q, xs, xz, sixtyfourth, low) }}",
             sixtyfourth=0.015625),
    _qlinear("average_pool",
             f"{Q8} y = {MS}QLinearAveragePool <kernel_shape = [2,2]> ({ONE}) }}"),
    _qlinear("global_average_pool",
             f"{Q8} y = {MS}QLinearGlobalAveragePool <channels_last = 0> ({ONE}) }}"),
    _qlinear("quantize_of_another_domain",
             f"(float[2,3] x) => (float y) {{ q = {MS}QuantizeLinear(x, xs, xz)"
             f" y = {MS}DequantizeLinear(q, xs, xz) }}"),
    _qlinear("not_channels_last",
             f"{Q8} y = {MS}QLinearGlobalAveragePool <channels_last = 1> ({ONE}) }}",
             fuses=False),
)  # fmt: skip

BLOCKS = "K = 20, N = 3, block_size = 16"


def _blocks(name: str, node: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    text = f"(float[2,20] x) => (float y) {{ y = com.microsoft.MatMulNBits {node} }}"
    return _case(
        unpack_block_weights, name, text, fuses=fuses, has_reference=False,
        by_block=powers(6), b=weights(3), **constants,
    )  # fmt: skip


PADDED = "(uint8[2,4,7,6] q) => (float y) {{ d = DequantizeLinear(q, xs, xz)  p = Pad(d, pads{})"
CONV = "  w = DequantizeLinear(wq, ws)  y = Conv {} (p, w) }}"


def _pad(
    name: str,
    fill: str = "",
    attrs: str = "",
    *,
    fuses: bool = True,
    **constants: np.ndarray | float,
) -> Case:
    given = {"pads": ints(0, 0, 1, 0, 0, 0, 0, 2), "wq": int8(6, 4, 3, 3), **constants}
    return _case(
        fuse_quantized_pad, name, PADDED.format(fill) + CONV.format(attrs), fuses=fuses,
        after=(move_dequantize, fold_quantized_products), feeds={"q": uint8(2, 4, 7, 6)}, **given,
    )  # fmt: skip


PADS = (
    _pad("zeros", attrs="<pads = [1,1,1,1]>"),
    _pad("a_zero_given", ", zero", zero=0.0),
    _pad("not_another_value", ", two", fuses=False),
    _pad("not_the_channels", pads=ints(0, 1, 0, 0, 0, 1, 0, 0), wq=int8(6, 6, 3, 3), fuses=False),
    _pad("not_auto_pad", attrs='<auto_pad = "SAME_LOWER">', fuses=False),
)

PACKED = (
    _blocks("four_bits", f"<bits = 4, {BLOCKS}> (x, w, by_block)", w=uint8(3, 2, 8)),
    _blocks("four_bits_with_zero_points_and_bias",
            f"<bits = 4, {BLOCKS}> (x, w, by_block, z, , b)", w=uint8(3, 2, 8), z=uint8(3)),
    _blocks("eight_bits", f"<bits = 8, {BLOCKS}> (x, w, by_block, z)", w=uint8(3, 2, 16),
            z=uint8(6)),
    _blocks("not_two_bits", f"<bits = 2, {BLOCKS}> (x, w, by_block)", w=uint8(3, 2, 4), fuses=False),
    _blocks("not_reordered", f"<bits = 4, {BLOCKS}> (x, w, by_block, , order)", fuses=False,
            w=uint8(3, 2, 8), order=np.zeros(20, np.int32)),
)  # fmt: skip

POOLS = (
    _case(widen_max_pool, "uint8", "(uint8[2,4,7,6] x) => (uint8 y) {"
          " y = MaxPool <kernel_shape = [2,2], pads = [1,1,1,1]> (x) }",
          feeds={"x": uint8(2, 4, 7, 6)}),
    _case(widen_max_pool, "int8_window_of_padding", "(int8[1,2,5] x) => (int8 y) {"
          " y = MaxPool <kernel_shape = [2], pads = [1,1], strides = [3]> (x) }",
          feeds={"x": int8(1, 2, 5)}),
    _case(widen_max_pool, "not_float",
          "(float[2,4,7,6] x) => (float y) { y = MaxPool <kernel_shape = [2,2]> (x) }", fuses=False),
    _case(widen_max_pool, "not_with_indices",
          "(uint8[2,4,7,6] x) => (uint8 y, int64 i) { y, i = MaxPool <kernel_shape = [2,2]> (x) }",
          fuses=False, feeds={"x": uint8(2, 4, 7, 6)}),
)  # fmt: skip

CASES = (
    *FOLDED, *BIASES, *OUTPUTS, *MOVED_DOWN, *AGAIN, *CLIPS, *MOVED_UP, *DEQUANTIZED, *IN_FLOAT,
    *INTEGER,
    *PADS,
    *PACKED,
    *POOLS, *OPERATORS, *QLINEAR,
)  # fmt: skip
