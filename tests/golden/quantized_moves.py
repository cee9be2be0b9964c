"""What moves past borders: data, padding, pooling, clips; pairs of borders that do nothing."""

from __future__ import annotations

import numpy as np

from colonnade.passes.fold_quantized_products import fold_quantized_products
from colonnade.passes.fuse_quantized_pad import fuse_quantized_pad
from colonnade.passes.move_dequantize import move_dequantize
from colonnade.passes.move_quantize import move_quantize
from colonnade.passes.remove_requantize import remove_requantize
from colonnade.passes.remove_saturated_clip import remove_saturated_clip
from golden.builder import Case, ints
from golden.quantized import IMAGE, MATRIX, PRODUCT, TURN, X, case, int8, powers, uint8


def _down(name: str, text: str, *, fuses: bool = True, **constants: np.ndarray | float) -> Case:
    return case(move_dequantize, name, text, fuses=fuses, **constants)


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
    case(move_dequantize, "embedding",
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
    _down("nearest_resize",
          f"(float[2,4,3,5] x) => (uint8 y) {{ {X} r = Resize <mode = \"nearest\">(d, , twice)"
          " y = QuantizeLinear(r, ys, yz) }", twice=np.array([1, 1, 2, 2], np.float32)),
    _down("not_linear_resize",
          f"(float[2,4,3,5] x) => (uint8 y) {{ {X} r = Resize <mode = \"linear\">(d, , twice)"
          " y = QuantizeLinear(r, ys, yz) }", fuses=False,
          twice=np.array([1, 1, 2, 2], np.float32)),
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
    return case(remove_requantize, name, text, fuses=fuses, **constants)


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
    return case(remove_saturated_clip, name, text, fuses=fuses, **constants)


CLIPS = (
    _clip("relu", "r = Relu(x)  y = QuantizeLinear(r, xs, low)"),
    _clip("relu6", "r = Clip(x, zero, six)  y = QuantizeLinear(r, fine, low)", zero=0.0, six=6.0,
          fine=np.float32(6 / 255)),
    case(remove_saturated_clip, "relu_that_others_read",
          "(float[2,40] x) => (uint8 y, float r) { r = Relu(x)  y = QuantizeLinear(r, xs, low) }"),
    _clip("not_relu_above_the_zero_point", "r = Relu(x)  y = QuantizeLinear(r, xs, xz)", fuses=False),
    _clip("not_a_bound_below_the_greatest", "r = Clip(x, zero, one)  y = QuantizeLinear(r, xs, low)",
          fuses=False, zero=0.0, one=1.0),
    _clip("not_a_scale_by_column", "r = Relu(x)  y = QuantizeLinear(r, xs40)", fuses=False,
          xs40=powers(40)),
    _clip("not_crossed_bounds", "r = Clip(x, six, zero)  y = QuantizeLinear(r, fine, low)",
          fuses=False, zero=0.0, six=6.0, fine=np.float32(6 / 255)),
)  # fmt: skip


def _up(
    name: str,
    text: str,
    *,
    fuses: bool = True,
    feeds: dict[str, np.ndarray] | None = None,
    **constants: np.ndarray | float,
) -> Case:
    return case(
        move_quantize, name, text, fuses=fuses, after=(fold_quantized_products,), feeds=feeds,
        wq=int8(8, 5), **constants,
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
    _up("concat_of_integers_and_products",
        "(float[6,8] x, uint8[6,3] q2) => (uint8 y) {" f"{PRODUCT}  e = DequantizeLinear(q2, ys, xz)"
        " c = Concat <axis = 1> (p, e, p)  y = QuantizeLinear <axis = 1> (c, ys, yz) }",
        feeds={"q2": uint8(6, 3)}),
    _up("not_concat_with_a_float",
        "(float[6,8] x, float[6,3] z) => (uint8 y) {" f"{PRODUCT}  c = Concat <axis = 1> (p, z)"
        " y = QuantizeLinear(c, ys, yz) }", fuses=False),
    _up("not_concat_of_a_product_read_twice",
        "(float[6,8] x, uint8[6,3] q2) => (uint8 y, float p) {" f"{PRODUCT}"
        " e = DequantizeLinear(q2, ys, xz)  c = Concat <axis = 1> (p, e)"
        " y = QuantizeLinear(c, ys, yz) }", fuses=False, feeds={"q2": uint8(6, 3)}),
    _up("not_without_a_product",
        "(float[6,5] p) => (uint8 y) { r = Reshape(p, s) y = QuantizeLinear(r, ys, yz) }",
        fuses=False, s=ints(2, 3, 5)),
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
    return case(
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

CASES = (
    *MOVED_DOWN,
    *AGAIN,
    *CLIPS,
    *MOVED_UP,
    *PADS,
)
