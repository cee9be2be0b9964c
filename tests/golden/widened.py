"""8-bit products in float32, where the caller wants them so."""

from __future__ import annotations

import numpy as np

from colonnade.ir import Graph
from colonnade.passes.fold_output_quantization import fold_output_quantization
from colonnade.passes.fold_quantized_products import fold_quantized_products
from colonnade.passes.fuse_elementwise import fuse_epilogue, lower_elementwise
from colonnade.passes.widen_products import keep_8_bits, make_widen_products
from golden.builder import Case, weights
from golden.quantized import IMAGE, MATRIX, PRODUCT, X, case, int8

DEEP = 600
"""Terms of 127 x 255 whose sum is beyond 2^24."""
FOLDS = (fold_quantized_products, fold_output_quantization)
WITH_EPILOGUE = (*FOLDS, lower_elementwise, fuse_epilogue, fold_output_quantization)


def _always(_: Graph, __: Graph) -> str:
    return "wanted"


def _widened(name: str, text: str, **constants: np.ndarray | float) -> Case:
    return case(make_widen_products(_always), name, text, after=WITH_EPILOGUE, **constants)


CASES = (
    _widened("product_with_an_output",
             "(float[3,8] x) => (uint8 y) {" f" {PRODUCT} y = QuantizeLinear(p, ys, yz) }}",
             wq=int8(8, 5)),
    _widened("conv_with_bias_and_epilogue",
             "(float[2,4,7,6] x) => (uint8 y) {"
             f" {X} w = DequantizeLinear <axis = 0> (wq, ws6, wz6)"
             " c = Conv <pads = [1,1,1,1], strides = [2,2]> (d, w, b)  s = Sigmoid(c)"
             " y = QuantizeLinear(s, ys, yz) }",
             wq=int8(6, 4, 3, 3), wz6=np.zeros(6, np.int8), b=weights(6)),
    _widened("scale_of_the_run",
             f"{MATRIX} {{ q, s, z = DynamicQuantizeLinear(x)  d = DequantizeLinear(q, s, z)"
             " w = DequantizeLinear <axis = -1> (wq, ws5, wz5)  y = MatMul(d, w) }",
             wq=int8(8, 5), wz5=np.zeros(5, np.int8)),
    _widened("two_of_one_input",
             "(float[3,8] x) => (float y, float z) {"
             f" {X} w = DequantizeLinear(wq, ws)  v = DequantizeLinear(vq, ws)"
             " y = MatMul(d, w)  z = MatMul(d, v) }",
             wq=int8(8, 5), vq=int8(8, 6)),
    case(make_widen_products(keep_8_bits), "not_where_8_bits_are_faster",
         f"{IMAGE} {{ {X} w = DequantizeLinear(wq, ws)  y = Conv(d, w) }}", fuses=False,
         after=WITH_EPILOGUE, wq=int8(6, 4, 3, 3)),
    case(make_widen_products(_always), "not_sums_beyond_24_bits",
         f"(float[1,{DEEP}] x) => (float y) {{ q = QuantizeLinear(x, xs, low)"
         " d = DequantizeLinear(q, xs, low)  w = DequantizeLinear(wq, ws)  y = MatMul(d, w) }",
         fuses=False, after=WITH_EPILOGUE, wq=np.full((DEEP, 2), 127, np.int8)),
)  # fmt: skip
