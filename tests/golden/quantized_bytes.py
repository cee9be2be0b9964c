"""What stays in 8 bits beside products: sums, products by channel, averages, tables."""

from __future__ import annotations

import numpy as np

from colonnade.passes.fuse_elementwise import lower_elementwise, merge_elementwise
from colonnade.passes.fuse_quantized_binary import fuse_quantized_binary
from colonnade.passes.fuse_quantized_mean import fuse_quantized_mean
from colonnade.passes.tabulate_elementwise import tabulate_elementwise
from golden.builder import Case, ints
from golden.quantized import X, case, powers

TO_PROGRAMS = (lower_elementwise, merge_elementwise)
BOTH = f" {X} r = QuantizeLinear(z, ys, sz)  e = DequantizeLinear(r, ys, sz)"
TWO = "(float[2,3,8] x, float[2,3,8] z)"
Y = "y = QuantizeLinear"
ONE = "(float[2,3,8] x) => (uint8 y)"


def _binary(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray) -> Case:
    return case(fuse_quantized_binary, name, text, fuses=fuses, after=TO_PROGRAMS, **constants)


BINARY = (
    _binary("sum", f"{TWO} => (uint8 y) {{ {BOTH} s = Add(d, e) {Y}(s, ys, yz) }}"),
    _binary("relu_int8",
            f"{TWO} => (int8 y) {{ {BOTH} s = Add(e, d) t = Relu(s) {Y}(t, ys, sz) }}"),
    _binary("product", f"{TWO} => (uint8 y) {{ {BOTH} s = Mul(d, e) {Y}(s, ys, yz) }}"),
    _binary("product_by_channel",
            "(float[2,4,7,6] x, float[2,4,1,1] z) => (uint8 y) {"
            f" {BOTH} s = Mul(e, d) {Y}(s, ys, yz) }}"),
    _binary("bias_by_feature", f"{ONE} {{ {X} s = Add(b, d) t = Relu(s) {Y}(t, ys, yz) }}", b=powers(8)),
    _binary("scale_by_channel", f"{ONE} {{ {X} s = Mul(d, b) {Y}(s, ys, yz) }}",
            b=powers(3).reshape(3, 1)),
    _binary("not_a_constant_for_each_element",
            f"{ONE} {{ {X} s = Mul(d, b) {Y}(s, ys, yz) }}", fuses=False,
            b=powers(24).reshape(3, 8)),
    _binary("not_a_difference",
            f"{TWO} => (uint8 y) {{ {BOTH} s = Sub(d, e) {Y}(s, ys, yz) }}", fuses=False),
    _binary("not_of_a_float",
            f"{TWO} => (uint8 y) {{ {BOTH} s = Add(d, z) {Y}(s, ys, yz) }}", fuses=False),
    _binary("not_int8_whose_zero_point_the_run_makes",
            "(float[2,3,8] x, float[2,3,8] z, int8 t) => (uint8 y) {"
            f" {X} r = QuantizeLinear(z, ys, t) e = DequantizeLinear(r, ys, t)"
            f" s = Add(d, e) {Y}(s, ys, yz) }}", fuses=False),
    _binary("not_read_twice",
            f"{TWO} => (uint8 y, float s) {{ {BOTH} s = Add(d, e) {Y}(s, ys, yz) }}", fuses=False),
    _binary("not_broadcast_over_the_batch",
            "(float[2,3,8] x, float[3,8] z) => (uint8 y) {"
            f" {BOTH} s = Add(d, e) {Y}(s, ys, yz) }}", fuses=False),
)  # fmt: skip

PIXELS = "(float[2,4,7,6] x) => (uint8 y)"


def _mean(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray) -> Case:
    return case(fuse_quantized_mean, name, text, fuses=fuses, **constants)


MEANS = (
    _mean("window",
          f"{PIXELS} {{ {X} p = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1],"
          f" strides = [2,2], count_include_pad = 1> (d) {Y}(p, ys, yz) }}"),
    _mean("whole", f"{PIXELS} {{ {X} p = GlobalAveragePool(d) {Y}(p, ys, yz) }}"),
    _mean("reduction_to_int8",
          f"(float[2,4,7,6] x) => (int8 y) {{ {X} p = ReduceMean <keepdims = 0> (d, axes)"
          f" {Y}(p, ys, sz) }}", axes=ints(-1, 2)),
    _mean("not_over_channels",
          f"{PIXELS} {{ {X} p = ReduceMean(d, axes) {Y}(p, ys, yz) }}", fuses=False, axes=ints(1)),
    _mean("not_the_greatest",
          f"{PIXELS} {{ {X} p = GlobalMaxPool(d) {Y}(p, ys, yz) }}", fuses=False),
    _mean("not_read_twice",
          f"(float[2,4,7,6] x) => (uint8 y, float p) {{ {X} p = GlobalAveragePool(d)"
          f" {Y}(p, ys, yz) }}", fuses=False),
    _mean("not_a_float",
          f"{PIXELS} {{ p = GlobalAveragePool(x) {Y}(p, ys, yz) }}", fuses=False),
    _mean("not_to_16_bits",
          f"(float[2,4,7,6] x) => (uint16 y) {{ {X} p = GlobalAveragePool(d) {Y}(p, ys, wide) }}",
          fuses=False, wide=np.array(7, np.uint16)),
)  # fmt: skip


def _table(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return case(tabulate_elementwise, name, text, fuses=fuses, after=TO_PROGRAMS, **constants)


TABLES = (
    _table("sigmoid", f"{ONE} {{ {X} s = Sigmoid(d) {Y}(s, ys, yz) }}"),
    _table("int8_scaled_and_clipped",
           "(float[2,3,8] z) => (int8 y) { r = QuantizeLinear(z, ys, sz) e = DequantizeLinear(r, ys, sz)"
           f" s = Mul(e, k) t = Clip(s, zero, two) {Y}(t, ys, sz) }}",
           k=np.full((1, 1, 1), 1.5, np.float32), zero=0.0),
    _table("another_scale", f"{ONE} {{ {X} {Y}(d, ys, yz) }}"),
    _table("silu_with_borders_inside",
           f"{ONE} {{ {X} s = Sigmoid(d) t = QuantizeLinear(s, ws, low) u = DequantizeLinear(t, ws, low)"
           f" v = Mul(d, u) {Y}(v, ys, yz) }}"),
    _table("not_of_two", f"{TWO} => (uint8 y) {{ {BOTH} s = Add(d, e) {Y}(s, ys, yz) }}", fuses=False),
    _table("not_a_constant_for_each",
           f"{ONE} {{ {X} s = Mul(d, k) {Y}(s, ys, yz) }}", fuses=False,
           k=np.arange(8, dtype=np.float32)),
    _table("not_scale_of_the_run",
           f"{ONE} {{ q, s, z = DynamicQuantizeLinear(x) d = DequantizeLinear(q, s, z) t = Tanh(d)"
           f" {Y}(t, ys, yz) }}", fuses=False),
    _table("not_read_twice",
           f"(float[2,3,8] x) => (uint8 y, float s) {{ {X} s = Sigmoid(d) {Y}(s, ys, yz) }}",
           fuses=False),
    _table("not_to_float", f"(float[2,3,8] x) => (float y) {{ {X} y = Sigmoid(d) }}", fuses=False),
)  # fmt: skip

CASES = (*BINARY, *MEANS, *TABLES)
