"""Products of dequantized operands, with bias and output, and back into float32."""

from __future__ import annotations

import numpy as np

from colonnade.passes.dequantize_products import dequantize_products
from colonnade.passes.fold_dequantized import fold_dequantized
from colonnade.passes.fold_output_quantization import fold_output_quantization
from colonnade.passes.fold_product_bias import fold_product_bias
from colonnade.passes.fold_quantized_products import fold_quantized_products
from colonnade.passes.fuse_elementwise import (
    fuse_epilogue,
    lower_elementwise,
    merge_elementwise,
)
from golden.builder import Case, weights
from golden.quantized import IMAGE, MATRIX, PRODUCT, ROWS, X, case, int8, powers, uint8


def _fold(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return case(fold_quantized_products, name, text, fuses=fuses, **constants)


FOLDED = (
    _fold("not_without_features", f"{MATRIX} {{ {X} w = DequantizeLinear(wq, ws)  y = MatMul(d, w) }}",
          fuses=False, wq=int8(8, 0)),
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
    return case(
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


def _output(
    name: str, text: str, *, fuses: bool = True, opset: int = 21, **constants: np.ndarray | float
) -> Case:
    return case(
        fold_output_quantization, name, text, fuses=fuses,
        after=(fold_quantized_products, fold_product_bias), opset=opset, wq=int8(8, 5), b=weights(5), **constants,
    )  # fmt: skip


OUTPUTS = (
    _output("not_in_half_precision",
            "(float[3,8] x) => (uint8 y) {" f"{PRODUCT} y = QuantizeLinear <precision = 10> (p, ys, yz) }}",
            fuses=False, opset=23),
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


DEQUANTIZED = (
    case(fold_dequantized, "weights_by_column",
          f"{MATRIX} {{ w = DequantizeLinear <axis = 1> (wq, ws5, wz5)  y = MatMul(x, w) }}",
          wq=int8(8, 5), wz5=np.arange(5, dtype=np.int8)),
    case(fold_dequantized, "uint8_whose_zeros_are_128",
          f"{IMAGE} {{ w = DequantizeLinear(wq, ws, half)  y = Conv(x, w) }}",
          wq=uint8(6, 4, 3, 3)),
    case(fold_dequantized, "not_an_activation", f"{MATRIX} {{ {X} y = Tanh(d) }}", fuses=False),
)  # fmt: skip

FOLDS = (fold_quantized_products, fold_product_bias, fold_output_quantization)
IN_FLOAT = (
    case(dequantize_products, "weights_with_a_zero_point",
          "(float[3,8] x) => (uint8 y) {" f" {X} w = DequantizeLinear(wq, ws, wz5)"
          " p = MatMul(d, w) s = Add(p, b) y = QuantizeLinear(s, ys, yz) }",
          after=FOLDS, wq=int8(8, 5), b=weights(5), wz5=np.int8(3)),
    case(dequantize_products, "groups_of_two_channels",
          f"{IMAGE} {{ {X} w = DequantizeLinear(wq, ws)  y = Conv <group = 2> (d, w) }}",
          after=FOLDS, wq=int8(6, 2, 3, 3)),
    case(dequantize_products, "int8_whose_zero_point_the_run_makes",
          "(float[3,8] x, int8 z) => (float y) {" " q = QuantizeLinear(x, xs, z)"
          " d = DequantizeLinear(q, xs, z) w = DequantizeLinear(wq, ws) y = MatMul(d, w) }",
          after=FOLDS, wq=int8(8, 5), feeds={"z": np.array(-4, np.int8)}),
    case(dequantize_products, "not_linear",
          "(float[3,8] x) => (uint8 y) {" f"{PRODUCT} s = Add(p, b) y = QuantizeLinear(s, ys, yz) }}",
          fuses=False, after=FOLDS, wq=int8(8, 5), b=weights(5)),
    case(dequantize_products, "not_depthwise",
          f"{IMAGE} {{ {X} w = DequantizeLinear(wq, ws)  y = Conv <group = 4> (d, w) }}",
          fuses=False, after=FOLDS, wq=int8(4, 1, 3, 3)),
    case(dequantize_products, "depthwise_with_far_taps",
          f"{IMAGE} {{ {X} w = DequantizeLinear(wq, ws)"
          " y = Conv <group = 4, dilations = [256, 1], pads = [512, 1, 512, 1]> (d, w) }",
          after=FOLDS, wq=int8(4, 1, 3, 3)),
    case(dequantize_products, "conv_by_channel",
          f"{IMAGE} {{ {X} w = DequantizeLinear <axis = 0> (wq, ws6, wz6)"
          " y = Conv <pads = [1,1,1,1]> (d, w, b) }",
          after=FOLDS, wq=int8(6, 4, 3, 3), wz6=np.arange(6, dtype=np.int8), b=weights(6)),
    case(dequantize_products, "not_two_activations",
          "(float[2,3,8] x, float[2,8,4] z) => (int8 y) {" f"{X}"
          " r = QuantizeLinear(z, ys, sz)  e = DequantizeLinear(r, ys, sz)  p = MatMul(d, e)"
          " y = QuantizeLinear(p, ys, sz) }", fuses=False, after=FOLDS),
    case(dequantize_products, "sums_of_two_activations_that_int32_may_not_hold",
          "(float[1,32769] x, float[32769,1] z) => (int8 y) {" f"{X}"
          " r = QuantizeLinear(z, ys, sz)  e = DequantizeLinear(r, ys, sz)  p = MatMul(d, e)"
          " y = QuantizeLinear(p, ys, sz) }", after=FOLDS),
    case(dequantize_products, "not_scale_of_the_run",
          f"{MATRIX} {{ q, s, z = DynamicQuantizeLinear(x)  d = DequantizeLinear(q, s, z)"
          " w = DequantizeLinear <axis = 1> (wq, ws5)  y = MatMul(d, w) }", fuses=False,
          after=FOLDS, wq=int8(8, 5)),
    case(dequantize_products, "not_a_product_in_float32",
          f"{MATRIX} {{ y = MatMul(x, w) }}", fuses=False, w=weights(8, 5)),
)  # fmt: skip


TO_PROGRAMS = (lower_elementwise, merge_elementwise)
WITH_EPILOGUE = (*FOLDS, *TO_PROGRAMS)
EPILOGUES = (
    case(fuse_epilogue, "quantized_product",
         f"{MATRIX} {{ {PRODUCT} s = Add(p, b) y = Sigmoid(s) }}", after=WITH_EPILOGUE,
         wq=int8(8, 5), b=weights(5)),
    case(fuse_epilogue, "not_behind_a_quantized_output",
         f"{MATRIX} {{ {PRODUCT} s = QuantizeLinear(p, ys, yz) t = DequantizeLinear(s, ys, yz)"
         " y = Sigmoid(t) }", fuses=False, after=WITH_EPILOGUE, wq=int8(8, 5)),
    case(fold_output_quantization, "behind_an_epilogue",
         "(float[3,8] x) => (uint8 y) {"
         f" {PRODUCT} s = Sigmoid(p) y = QuantizeLinear(s, ys, yz) }}",
         after=(*WITH_EPILOGUE, fuse_epilogue), wq=int8(8, 5)),
)  # fmt: skip

CASES = (
    *FOLDED,
    *BIASES,
    *OUTPUTS,
    *DEQUANTIZED,
    *IN_FLOAT,
    *EPILOGUES,
)
