"""Layer and RMS normalisation, written out and as ONNX operators, and the sum before them."""

from __future__ import annotations

import numpy as np

from colonnade.passes.fuse_linear import fuse_linear
from colonnade.passes.fuse_norm import (
    adopt_layer_norm,
    adopt_rms_norm,
    fuse_layer_norm,
    fuse_rms_norm,
)
from colonnade.passes.fuse_skip_norm import fuse_skip_norm
from golden.builder import Case, Constants, ints, weights

SCALES: Constants = {
    "scale": weights(8), "bias": weights(8, seed=4), "eps": 1e-5, "two": 2.0, "one": 1.0,
    "last": ints(-1),
}  # fmt: skip
MEAN = "m = ReduceMean <axes = [-1]> (x)  c = Sub(x, m) "
VARIANCE = "v = ReduceMean <axes = [-1]> (q)  ve = Add(v, eps)  r = Sqrt(ve) "
END = "n = Div(c, r)  s = Mul(n, scale)  y = Add(s, bias)"


def _layer(name: str, body: str, *, fuses: bool = True, **changes: np.ndarray | float) -> Case:
    text = f"(float[2,3,8] x) => (float[2,3,8] y) {{ {body} }}"
    return Case(fuse_layer_norm, name, text, {**SCALES, **changes}, fuses)


def _rms(name: str, body: str, *, fuses: bool = True, **changes: np.ndarray | float) -> Case:
    text = f"(float[2,3,8] x) => (float[2,3,8] y) {{ {body} }}"
    return Case(fuse_rms_norm, name, text, {**SCALES, **changes}, fuses)


RMS = "q = Pow(x, two) " + VARIANCE
NORM = "y = LayerNormalization <axis = -1> (s, scale, bias)"
ADOPTED = (adopt_layer_norm, adopt_rms_norm)

CASES = (
    _layer("pow", MEAN + "q = Pow(c, two) " + VARIANCE + END),
    _layer("square", MEAN + "q = Mul(c, c) " + VARIANCE + END),
    _layer(
        "positive_axis_reciprocal",
        "m = ReduceMean <axes = [2]> (x)  c = Sub(x, m)  q = Mul(c, c)"
        "v = ReduceMean <axes = [2]> (q)  ve = Add(eps, v)  r = Sqrt(ve)"
        "i = Reciprocal(r)  n = Mul(c, i)  s = Mul(scale, n)  y = Add(bias, s)",
    ),
    _layer(
        "centred_twice",
        "m = ReduceMean <axes = [-1]> (x)  c = Sub(x, m)  c2 = Sub(x, m)  q = Pow(c2, two) "
        + VARIANCE + END,
    ),
    _layer("one_over_root", MEAN + "q = Mul(c, c) " + VARIANCE
           + "i = Div(one, r)  n = Mul(c, i)  s = Mul(n, scale)  y = Add(s, bias)"),
    Case(
        fuse_layer_norm, "axes_as_input",
        "(float[2,3,8] x) => (float[2,3,8] y) { m = ReduceMean(x, last)  c = Sub(x, m)"
        "q = Mul(c, c)  v = ReduceMean(q, last)  ve = Add(v, eps)  r = Sqrt(ve) " + END + "}",
        SCALES, opset=18,
    ),
    _layer("not_over_another_axis",
           "m = ReduceMean <axes = [1]> (x)  c = Sub(x, m)  q = Pow(c, two)"
           "v = ReduceMean <axes = [1]> (q)  ve = Add(v, eps)  r = Sqrt(ve) " + END, fuses=False),
    _layer("not_over_two_axes",
           "m = ReduceMean <axes = [1, 2]> (x)  c = Sub(x, m)  q = Pow(c, two)"
           "v = ReduceMean <axes = [1, 2]> (q)  ve = Add(v, eps)  r = Sqrt(ve) " + END,
           fuses=False),
    _layer("not_cubed", MEAN + "q = Pow(c, two) " + VARIANCE + END, fuses=False, two=4.0),
    _layer("not_scaled_by_position", MEAN + "q = Mul(c, c) " + VARIANCE + END, fuses=False,
           scale=weights(3, 1)),
    _layer("not_epsilon_of_features", MEAN + "q = Mul(c, c) " + VARIANCE + END, fuses=False,
           eps=np.full(8, 1e-5, np.float32)),
    _layer("not_growing_rank", MEAN + "q = Mul(c, c) " + VARIANCE
           + "n = Div(c, r)  s = Mul(n, scale)  z = Add(s, bias)  y = Squeeze(z, zero)",
           fuses=False, scale=weights(1, 1, 1, 8), zero=ints(0)),
    _rms("pow", RMS + "n = Div(x, r)  y = Mul(n, scale)"),
    _rms("square_reciprocal", "q = Mul(x, x) " + VARIANCE
         + "i = Reciprocal(r)  n = Mul(x, i)  y = Mul(scale, n)"),
    _rms("one_over_root", RMS + "i = Div(one, r)  n = Mul(x, i)  y = Mul(scale, n)"),
    _rms("not_of_two_values", "z = Neg(x)  q = Mul(x, z) " + VARIANCE
         + "n = Div(x, r)  y = Mul(n, scale)", fuses=False),
    _rms("not_scaled_by_one_value", RMS + "n = Div(x, r)  y = Mul(n, scale)", fuses=False,
         scale=2.0),
    Case(
        adopt_layer_norm, "last_axis",
        "(float[2,3,8] x) => (float[2,3,8] y) {"
        "y = LayerNormalization <axis = 2, epsilon = 0.001> (x, scale, bias) }", SCALES,
    ),
    Case(
        adopt_layer_norm, "without_bias",
        "(float[2,3,8] x) => (float[2,3,8] y) { y = LayerNormalization(x, scale) }", SCALES,
    ),
    Case(
        adopt_layer_norm, "not_over_two_axes",
        "(float[2,3,8] x) => (float[2,3,8] y) { y = LayerNormalization <axis = 1> (x, scale) }",
        {"scale": weights(3, 8)}, fuses=False,
    ),
    Case(
        adopt_layer_norm, "not_when_the_mean_is_read",
        "(float[2,3,8] x) => (float[2,3,8] y, float[2,3,1] m) {"
        "y, m = LayerNormalization(x, scale, bias) }", SCALES, fuses=False,
    ),
    Case(
        adopt_layer_norm, "not_a_scale_that_broadcasts",
        "(float[2,3,8] x) => (float[2,3,8] y) { y = LayerNormalization(x, one) }",
        {"one": np.ones(1, np.float32)}, fuses=False,
    ),
    Case(
        adopt_rms_norm, "last_axis",
        "(float[2,3,8] x) => (float[2,3,8] y) { y = RMSNormalization <axis = -1> (x, scale) }",
        SCALES, opset=23,
    ),
    Case(
        adopt_rms_norm, "not_over_two_axes",
        "(float[2,3,8] x) => (float[2,3,8] y) { y = RMSNormalization <axis = 1> (x, scale) }",
        {"scale": weights(3, 8)}, fuses=False, opset=23,
    ),
    Case(
        fuse_skip_norm, "sum_of_two_activations",
        "(float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y) { s = Add(x, z) " + NORM + "}",
        SCALES, after=ADOPTED,
    ),
    Case(
        fuse_skip_norm, "rms",
        "(float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y) { s = Add(x, z)"
        "y = RMSNormalization(s, scale) }", SCALES, after=ADOPTED, opset=23,
    ),
    Case(
        fuse_skip_norm, "not_a_sum_read_twice",
        "(float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y, float[2,3,8] s) {"
        "s = Add(x, z) " + NORM + "}", SCALES, fuses=False, after=ADOPTED,
    ),
    Case(
        fuse_skip_norm, "not_a_sum_that_broadcasts",
        "(float[2,3,8] x, float[8] z) => (float[2,3,8] y) { s = Add(x, z) " + NORM + "}",
        SCALES, fuses=False, after=ADOPTED,
    ),
    Case(
        fuse_skip_norm, "not_the_sum_behind_a_product",
        "(float[2,3,8] x, float[2,3,8] z) => (float[2,3,8] y) {"
        "p = MatMul(x, w)  s = Add(p, z) " + NORM + "}",
        {**SCALES, "w": weights(8, 8)}, fuses=False, after=(*ADOPTED, fuse_linear),
    ),
)  # fmt: skip
