"""Attention as exporters write it."""

from __future__ import annotations

import numpy as np

from colonnade.passes.adopt_attention import adopt_attention
from colonnade.passes.fuse_attention import fuse_attention
from golden.builder import Case, Constants, ints, weights

SHAPES: Constants = {
    "split": ints(2, 5, 3, 4), "split_kv": ints(2, 6, 3, 4), "join": ints(2, 5, 12),
    "root": 2.0, "scale": 0.5, "sqrt_scale": 0.70710678, "zero": 0.0, "big": 3.0,
}  # fmt: skip
QKV = "float[2,5,12] q, float[2,6,12] k, float[2,6,12] v"
FOUR = "float[2,3,5,4] q, float[2,3,6,4] k, float[2,3,6,4] v"
HEADS = (
    "qs = Reshape(q, split)  qh = Transpose <perm = [0,2,1,3]> (qs)"
    "ks = Reshape(k, split_kv)  kh = Transpose <perm = [0,2,3,1]> (ks)"
    "vs = Reshape(v, split_kv)  vh = Transpose <perm = [0,2,1,3]> (vs) "
)
JOIN = "o = MatMul(a, vh)  t = Transpose <perm = [0,2,1,3]> (o)  y = Reshape(t, join)"
TURN = "kt = Transpose <perm = [0,1,3,2]> (k) "


def _case(
    name: str,
    text: str,
    *,
    fuses: bool = True,
    feeds: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    **changes: np.ndarray | float,
) -> Case:
    constants = {**SHAPES, **changes}
    return Case(fuse_attention, name, text, constants, fuses, feeds=feeds or {}, opset=opset)


def _adopt(
    name: str,
    text: str = f"({QKV}) => (float[2,5,12] y)",
    attrs: str = "",
    more: str = "",
    outputs: str = "y",
    *,
    fuses: bool = True,
    opset: int = 23,
) -> Case:
    """ONNX's own Attention, three heads."""
    node = f"{outputs} = Attention <q_num_heads = 3, kv_num_heads = 3{attrs}> (q, k, v{more})"
    return Case(adopt_attention, name, f"{text} {{ {node} }}", {}, fuses, opset=opset)


def _masked(shape: str, element: str = "float") -> str:
    return f"({QKV}, {element}[{shape}] mask) => (float[2,5,12] y)"


def _blind_mask() -> np.ndarray:
    """Additive; one query sees no key at all."""
    mask = np.zeros((2, 1, 5, 6), np.float32)
    mask[:, :, :, 4:] = -np.inf
    mask[1, 0, 2] = -np.inf
    return mask


CASES = (
    _case("plain", f"({FOUR}) => (float[2,3,5,4] y) {{ {TURN}"
          "s = MatMul(q, kt)  d = Div(s, root)  a = Softmax <axis = -1> (d)  y = MatMul(a, v) }"),
    _case("positive_axis", f"({FOUR}) => (float[2,3,5,4] y) {{ {TURN}"
          "s = MatMul(q, kt)  a = Softmax <axis = 3> (s)  y = MatMul(a, v) }"),
    _case("split_heads", f"({QKV}) => (float[2,5,12] y) {{ {HEADS}"
          f"s = MatMul(qh, kh)  d = Div(s, root)  a = Softmax(d) {JOIN} }}"),
    _case("keys_turned_before", "(float[2,3,5,4] q, float[2,3,4,6] k, float[2,3,6,4] v) => "
          "(float[2,3,5,4] y) { s = MatMul(q, k)  a = Softmax(s)  y = MatMul(a, v) }"),
    _case("scale_before", f"({QKV}) => (float[2,5,12] y) {{ {HEADS}"
          f"qd = Mul(scale, qh)  s = MatMul(qd, kh)  a = Softmax(s) {JOIN} }}"),
    _case("scale_before_the_split", f"({QKV}) => (float[2,5,12] y) {{ q2 = Mul(q, scale) "
          + HEADS.replace("(q,", "(q2,") + f"s = MatMul(qh, kh)  a = Softmax(s) {JOIN} }}"),
    _case("root_scale_on_both", f"({QKV}) => (float[2,5,12] y) {{ {HEADS}"
          "qd = Mul(qh, sqrt_scale)  kd = Mul(kh, sqrt_scale)"
          f"s = MatMul(qd, kd)  a = Softmax(s) {JOIN} }}"),
    _case("mask", f"({QKV}, float[2,1,1,6] mask) => (float[2,5,12] y) {{ {HEADS}"
          f"s = MatMul(qh, kh)  d = Div(s, root)  e = Add(d, mask)  a = Softmax(e) {JOIN} }}"),
    _case("mask_first", f"({FOUR}, float[5,6] mask) => (float[2,3,5,4] y) {{ {TURN}"
          "s = MatMul(q, kt)  e = Add(mask, s)  a = Softmax(e)  y = MatMul(a, v) }"),
    _case("safe_softmax", f"({QKV}, float[2,1,5,6] mask) => (float[2,5,12] y) {{ {HEADS}"
          "s = MatMul(qh, kh)  d = Mul(s, scale)  e = Add(d, mask)  p = Softmax(e)"
          f"n = IsNaN(p)  a = Where(n, zero, p) {JOIN} }}", feeds={"mask": _blind_mask()}),
    _case("blind_rows_of_plain_softmax",
          f"({QKV}, float[2,1,5,6] mask) => (float[2,5,12] y) {{ {HEADS}"
          f"s = MatMul(qh, kh)  e = Add(s, mask)  a = Softmax(e) {JOIN} }}",
          feeds={"mask": _blind_mask()}),
    _case("grouped_queries",
          "(float[2,5,24] q, float[2,6,12] k, float[2,6,12] v) => (float[2,5,24] y) {"
          "qs = Reshape(q, split)  qh = Transpose <perm = [0,2,1,3]> (qs)"
          "ks = Reshape(k, split_kv)  kh = Transpose <perm = [0,2,1,3]> (ks)"
          "ku = Unsqueeze(kh, two)  ke = Expand(ku, many)  kr = Reshape(ke, six)"
          "kt = Transpose <perm = [0,1,3,2]> (kr)"
          "vs = Reshape(v, split_kv)  vt = Transpose <perm = [0,2,1,3]> (vs)"
          "vu = Unsqueeze(vt, two)  ve = Expand(vu, many)  vh = Reshape(ve, six)"
          f"s = MatMul(qh, kt)  a = Softmax(s) {JOIN} }}",
          split=ints(2, 5, 6, 4), join=ints(2, 5, 24), two=ints(2), many=ints(2, 3, 2, 6, 4),
          six=ints(2, 6, 6, 4)),
    _case("one_query_group",
          "(float[2,5,12] q, float[2,6,4] k, float[2,6,4] v) => (float[2,5,12] y) {"
          "qs = Reshape(q, split)  qh = Transpose <perm = [0,2,1,3]> (qs)"
          "ku = Unsqueeze(k, one)  ke = Expand(ku, many)  kt = Transpose <perm = [0,1,3,2]> (ke)"
          "vu = Unsqueeze(v, one)  vh = Expand(vu, many)"
          f"s = MatMul(qh, kt)  a = Softmax(s) {JOIN} }}",
          one=ints(1), many=ints(2, 3, 6, 4)),
    _case("one_head", "(float[2,5,4] q, float[2,6,4] k, float[2,6,3] v) => (float[2,5,3] y) {"
          "kt = Transpose <perm = [0,2,1]> (k)  s = MatMul(q, kt)  a = Softmax(s)"
          "y = MatMul(a, v) }"),
    _case("one_head_mask",
          "(float[2,5,4] q, float[2,6,4] k, float[2,6,3] v, float[2,5,6] mask) => "
          "(float[2,5,3] y) { kt = Transpose <perm = [0,2,1]> (k)  s = MatMul(q, kt)"
          "e = Add(s, mask)  a = Softmax(e)  y = MatMul(a, v) }"),
    _case("other_value_depth",
          "(float[2,3,5,4] q, float[2,3,6,4] k, float[2,3,6,7] v) => (float[2,3,5,7] y) {" + TURN
          + "s = MatMul(q, kt)  a = Softmax(s)  y = MatMul(a, v) }"),
    _case("fixed_keys",
          "(float[2,3,5,4] q, float[2,3,6,4] v) => (float[2,3,5,4] y) {"
          "s = MatMul(q, fixed)  a = Softmax(s)  y = MatMul(a, v) }", fixed=weights(2, 3, 4, 6)),
    _case("head_and_batch_swapped",
          "(float[3,2,5,4] q0, float[2,3,6,4] k, float[2,3,6,4] v) => (float[2,3,5,4] y) {" + TURN
          + "q = Transpose <perm = [1,0,2,3]> (q0)  s = MatMul(q, kt)  a = Softmax(s)"
          "y = MatMul(a, v) }"),
    _case("equal_sizes_do_not_confuse",
          "(float[4,4,16] q, float[4,4,16] k, float[4,4,16] v) => (float[4,4,16] y) {"
          "qs = Reshape(q, split)  qh = Transpose <perm = [1,2,0,3]> (qs)"
          "ks = Reshape(k, split)  kh = Transpose <perm = [1,2,3,0]> (ks)"
          "vs = Reshape(v, split)  vh = Transpose <perm = [1,2,0,3]> (vs)"
          "s = MatMul(qh, kh)  a = Softmax(s)  o = MatMul(a, vh)"
          "t = Transpose <perm = [2,0,1,3]> (o)  y = Reshape(t, join) }",
          split=ints(4, 4, 4, 4), join=ints(4, 4, 16)),
    _case("not_softmax_over_queries", f"({FOUR}) => (float[2,3,5,4] y) {{ {TURN}"
          "s = MatMul(q, kt)  a = Softmax <axis = 2> (s)  y = MatMul(a, v) }", fuses=False),
    _case("not_softmax_of_old_opset", f"({FOUR}) => (float[2,3,5,4] y) {{ {TURN}"
          "s = MatMul(q, kt)  a = Softmax <axis = 1> (s)  y = MatMul(a, v) }", fuses=False,
          opset=11),
    _case("not_scores_read_twice",
          f"({FOUR}) => (float[2,3,5,4] y, float[2,3,5,6] s) {{ {TURN}"
          "s = MatMul(q, kt)  a = Softmax(s)  y = MatMul(a, v) }", fuses=False),
    _case("not_weights_read_twice",
          f"({FOUR}) => (float[2,3,5,4] y, float[2,3,5,6] a) {{ {TURN}"
          "s = MatMul(q, kt)  a = Softmax(s)  y = MatMul(a, v) }", fuses=False),
    _case("not_a_scale_of_the_run",
          f"({FOUR}, float[1] factor) => (float[2,3,5,4] y) {{ {TURN}"
          "s = MatMul(q, kt)  d = Mul(s, factor)  a = Softmax(d)  y = MatMul(a, v) }",
          fuses=False),
    _case("not_a_scale_by_head", f"({FOUR}) => (float[2,3,5,4] y) {{ {TURN}"
          "s = MatMul(q, kt)  d = Mul(s, by_head)  a = Softmax(d)  y = MatMul(a, v) }",
          fuses=False, by_head=weights(3, 1, 1)),
    _case("not_a_mask_that_grows_the_scores",
          "(float[1,3,5,4] q, float[1,3,6,4] k, float[1,3,6,4] v, float[2,1,5,6] mask) => "
          "(float[2,3,5,4] y) {" + TURN
          + "s = MatMul(q, kt)  e = Add(s, mask)  a = Softmax(e)  y = MatMul(a, v) }",
          fuses=False),
    _case("not_scale_after_the_mask", f"({FOUR}, float[5,6] mask) => (float[2,3,5,4] y) {{ {TURN}"
          "s = MatMul(q, kt)  e = Add(s, mask)  d = Div(e, root)  a = Softmax(d)"
          "y = MatMul(a, v) }", fuses=False),
    _case("not_replaced_by_another_value",
          f"({FOUR}) => (float[2,3,5,4] y) {{ {TURN} s = MatMul(q, kt)  p = Softmax(s)"
          "n = IsNaN(p)  a = Where(n, big, p)  y = MatMul(a, v) }", fuses=False),
    _case("not_the_weights_on_the_right", "(float[2,3,5,4] q, float[2,3,6,4] k, "
          "float[2,3,7,5] v) => (float[2,3,7,6] y) {" + TURN
          + "s = MatMul(q, kt)  a = Softmax(s)  y = MatMul(v, a) }", fuses=False),
    _case("not_double", "(double[2,3,5,4] q, double[2,3,6,4] k, double[2,3,6,4] v) => "
          "(double[2,3,5,4] y) {" + TURN + "s = MatMul(q, kt)  a = Softmax(s)"
          "y = MatMul(a, v) }", fuses=False),
    _case("not_values_by_broadcast", "(float[2,3,5,4] q, float[2,3,6,4] k, "
          "float[1,1,6,4] v) => (float[2,3,5,4] y) {" + TURN
          + "s = MatMul(q, kt)  a = Softmax(s)  y = MatMul(a, v) }", fuses=False),
    _adopt("plain"),
    _adopt("scale", attrs=", scale = 0.25"),
    _adopt("causal", attrs=", is_causal = 1"),
    _adopt("mask", _masked("2,1,5,6"), more=", mask"),
    _adopt("mask_of_two_axes", _masked("5,6"), more=", mask"),
    _adopt("mask_by_head", _masked("3,1,6"), more=", mask"),
    Case(adopt_attention, "grouped_queries",
         "(float[2,5,24] q, float[2,6,12] k, float[2,6,9] v) => (float[2,5,18] y) {"
         "y = Attention <q_num_heads = 6, kv_num_heads = 3> (q, k, v) }", opset=23),
    _adopt("not_four_axes", f"({FOUR}) => (float[2,3,5,4] y)", fuses=False),
    _adopt("not_a_soft_cap", attrs=", softcap = 2.0", fuses=False),
    _adopt("not_a_boolean_mask", _masked("5,6", "bool"), more=", mask", fuses=False),
    _adopt("not_a_cache",
           f"({QKV}, float[2,3,2,4] pk, float[2,3,2,4] pv) => (float[2,5,12] y, float[2,3,8,4] nk,"
           "float[2,3,8,4] nv)", more=", , pk, pv", outputs="y, nk, nv", fuses=False),
    _adopt("not_when_the_keys_are_read",
           f"({QKV}) => (float[2,5,12] y, float[2,3,6,4] nk, float[2,3,6,4] nv)",
           outputs="y, nk, nv", fuses=False),
    _adopt("not_a_mask_for_some_keys", _masked("5,4"), more=", mask", fuses=False, opset=24),
)  # fmt: skip
