"""Attention of 8-bit products, with the borders that producers put between them."""

from __future__ import annotations

import numpy as np

from colonnade.passes.fold_output_quantization import fold_output_quantization
from colonnade.passes.fold_quantized_products import fold_quantized_products
from colonnade.passes.fuse_quantized_attention import fuse_quantized_attention
from colonnade.passes.move_dequantize import move_dequantize
from colonnade.passes.move_quantize import move_quantize
from golden.attention import FOUR, HEADS, QKV, SHAPES
from golden.builder import Case

PASSES = (move_dequantize, fold_quantized_products, move_quantize, fold_output_quantization)
PARAMETERS = {
    **SHAPES, "s": 0.0625, "z": np.array(130, np.uint8), "i": np.array(-5, np.int8), "ss": 0.25, "ps": 1 / 256,
    "pz": np.array(0, np.uint8), "ps2": 1 / 128,
}  # fmt: skip


def _border(value: str, made: str, scale: str = "s", zero: str = "z") -> str:
    """QuantizeLinear and DequantizeLinear."""
    parameters = f"{scale}, {zero}"
    return (
        f"{made}_8 = QuantizeLinear({value}, {parameters})"
        f" {made} = DequantizeLinear({made}_8, {parameters}) "
    )


def _case(name: str, text: str, *, fuses: bool = True, **more: np.ndarray | float) -> Case:
    constants = {**PARAMETERS, **more}
    return Case(fuse_quantized_attention, name, text, constants, fuses, PASSES, opset=21)


OPERANDS = _border("qh", "qd") + _border("kh", "kd") + _border("vh", "vd")
SOFTMAX = "x = Softmax <axis = -1> (w) "
PROBABILITY = _border("x", "a", "ps", "pz")
VALUES = "o = MatMul(a, vd) "
JOINED = "t = Transpose <perm = [0,2,1,3]> (o)  y = Reshape(t, join)"
START = f"({QKV}) => (float[2,5,12] y) {{ {HEADS}{OPERANDS}"
MASKED = f"({QKV}, float[2,1,1,6] mask) => (float[2,5,12] y) {{ {HEADS}{OPERANDS}"
SAFE = "n = IsNaN(x)  u = Where(n, zero, x) "

CASES = (
    _case("products_only", f"{START} w = MatMul(qd, kd)  {SOFTMAX}{PROBABILITY}{VALUES}{JOINED} }}"),
    _case(
        "scores_mask_and_output",
        f"{MASKED} p = MatMul(qd, kd) {_border('p', 'r', 'ss')} w = Add(r, mask)"
        f" {SOFTMAX}{SAFE}{_border('u', 'a', 'ps', 'pz')}{VALUES}{JOINED.replace('y', 'f')}"
        f"{_border('f', 'y')} }}",
    ),
    _case(
        "a_border_everywhere",
        f"{MASKED} p = MatMul(qd, kd) {_border('p', 'r', 'ss')} h = Div(r, root)"
        f" {_border('h', 'g', 'ss')} m = Add(mask, g) {_border('m', 'w', 'ss')}"
        f" {SOFTMAX}{_border('x', 'b', 'ps2', 'pz')}{SAFE.replace('x)', 'b)')}"
        f"{_border('u', 'a', 'ps', 'pz')}{VALUES}{JOINED.replace('y', 'f')}"
        f"{_border('f', 'y', 's', 'i')} }}",
    ),
    _case(
        "scaled_heads",
        f"({QKV}) => (float[2,5,12] y) {{ {HEADS} qr = Mul(qh, scale)  kr = Mul(kh, scale)"
        f" {_border('qr', 'qd')}{_border('kr', 'kd')}{_border('vh', 'vd')} w = MatMul(qd, kd)"
        f" {SOFTMAX}{PROBABILITY}{VALUES}{JOINED} }}",
    ),
    _case(
        "heads_of_their_own",
        f"({FOUR}) => (float[2,3,5,4] o) {{ kt = Transpose <perm = [0,1,3,2]> (k)"
        f" {_border('q', 'qd')}{_border('kt', 'kd')}{_border('v', 'vd')} w = MatMul(qd, kd)"
        f" {SOFTMAX}{PROBABILITY}{VALUES} }}",
    ),
    _case(
        "three_axes_int8",
        "(float[3,5,4] q, float[3,4,6] k, float[3,6,8] v, float[3,5,6] mask) => (float[3,5,8] o) {"
        f" {_border('q', 'qd', zero='i')}{_border('k', 'kd', zero='i')}{_border('v', 'vd')}"
        f" p = MatMul(qd, kd)  w = Add(p, mask) {SOFTMAX}{PROBABILITY}{VALUES} }}",
    ),
    _case(
        "not_only_the_first_product",
        f"{START} w = MatMul(qd, kd)  {SOFTMAX} o = MatMul(x, vd)  {JOINED} }}", fuses=False,
    ),
    _case(
        "not_only_the_second_product",
        f"{START} w = MatMul(qh, kh)  {SOFTMAX}{PROBABILITY}{VALUES}{JOINED} }}", fuses=False,
    ),
    _case(
        "not_scores_read_twice",
        f"({QKV}) => (float[2,5,12] y, float[2,3,5,6] w) {{ {HEADS}{OPERANDS} w = MatMul(qd, kd)"
        f" {SOFTMAX}{PROBABILITY}{VALUES}{JOINED} }}", fuses=False,
    ),
    _case(
        "not_another_axis",
        f"{START} w = MatMul(qd, kd)  x = Softmax <axis = -2> (w) {PROBABILITY}{VALUES}{JOINED} }}",
        fuses=False,
    ),
    _case(
        "not_a_scale_of_the_run",
        f"({QKV}, float d) => (float[2,5,12] y) {{ {HEADS}{OPERANDS} w = MatMul(qd, kd)"
        f" {SOFTMAX}{_border('x', 'a', 'd', 'pz')}{VALUES}{JOINED} }}", fuses=False,
    ),
    _case(
        "not_two_scales_of_a_border",
        f"{START} p = MatMul(qd, kd)  p8 = QuantizeLinear(p, ss, z)"
        f" w = DequantizeLinear(p8, s, z)  {SOFTMAX}{PROBABILITY}{VALUES}{JOINED} }}", fuses=False,
    ),
    _case(
        "not_heads_of_six",
        "(float[3,5,6] q, float[3,6,6] k, float[3,6,8] v) => (float[3,5,8] o) {"
        f" {_border('q', 'qd')}{_border('k', 'kd')}{_border('v', 'vd')}"
        f" w = MatMul(qd, kd) {SOFTMAX}{PROBABILITY}{VALUES} }}", fuses=False,
    ),
)  # fmt: skip
