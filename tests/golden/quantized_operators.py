"""Operators that are quantized already: integer products, QOperator, packed blocks."""

from __future__ import annotations

import numpy as np

from colonnade.passes.adopt_integer_products import adopt_integer_products
from colonnade.passes.adopt_quantized_products import adopt_quantized_products
from colonnade.passes.expand_qlinear import expand_qlinear
from colonnade.passes.unpack_block_weights import unpack_block_weights
from golden.builder import Case, weights
from golden.quantized import IMAGE, MATRIX, MS, ROWS, case, int8, powers, uint8


def _integer(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return case(adopt_integer_products, name, text, fuses=fuses, **constants)


DYNAMIC = "q, s, z = DynamicQuantizeLinear(x)"
INTEGER = (
    _integer("dynamic_activations",
             "(float[2,3,8] x, float[2,8,4] v) => (float y) {" f"{DYNAMIC}"
             " r, t, u = DynamicQuantizeLinear(v)  p = MatMulInteger(q, r, z, u)"
             " c = Cast <to = 1> (p)  f = Mul(s, t)  y = Mul(c, f) }"),
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


def _operator(
    name: str,
    text: str,
    *,
    fuses: bool = True,
    contrib: bool = False,
    **constants: np.ndarray | float,
) -> Case:
    return case(
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
    return case(expand_qlinear, name, text, fuses=fuses, has_reference=False, **constants)


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
    return case(
        unpack_block_weights, name, text, fuses=fuses, has_reference=False,
        by_block=powers(6), b=weights(3), **constants,
    )  # fmt: skip


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

CASES = (
    *INTEGER,
    *OPERATORS,
    *QLINEAR,
    *PACKED,
)
