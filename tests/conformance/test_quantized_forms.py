"""The forms that torchao, NNCF and SparseML write, after their files: written by hand, run natively.

What they have of their own: axes on scalar scales, zero points for each channel, float32 bias,
Reshape and ReduceMean between pairs (torchao); QuantizeLinear on float32 weights (NNCF); uint8
weights whose zero is 128, int32 bias before the cast, constant scales, turned weights, quantized
embeddings and products of two activations (SparseML).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import colonnade
from conformance.test_quantized_producers import check_agreement, folded_ops

RNG = np.random.default_rng(43)


def floats(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / 2).astype(np.float32)


def int8(*shape: int) -> np.ndarray:
    return RNG.integers(-127, 128, shape).astype(np.int8)


def uint8(*shape: int) -> np.ndarray:
    """Weights as SparseML stores them: three of four are 128, which is zero."""
    values = RNG.integers(0, 256, shape)
    return np.where(RNG.random(shape) < 0.75, 128, values).astype(np.uint8)


def scales(count: int) -> np.ndarray:
    return RNG.uniform(0.002, 0.02, count).astype(np.float32)


def model_of(text: str, opset: int, **constants: Any) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]> form {text}')
    for name, value in constants.items():
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        kept = array.astype(np.float32) if array.dtype == np.float64 else array
        model.graph.initializer.append(numpy_helper.from_array(kept, name))
    return model


def torchao() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    text = """(float[2,3,8,8] x) => (float y) {
      q0 = QuantizeLinear <axis = 1> (x, s0, z0)  d0 = DequantizeLinear <axis = 1> (q0, s0, z0)
      w1 = DequantizeLinear <axis = 0> (w1q, w1s, w1z)
      c1 = Conv <pads = [1,1,1,1]> (d0, w1, b1)  r1 = Relu(c1)
      q1 = QuantizeLinear <axis = 1> (r1, s1, z1)  d1 = DequantizeLinear <axis = 1> (q1, s1, z1)
      m = ReduceMean <keepdims = 1> (d1, axes)
      q2 = QuantizeLinear <axis = 1> (m, s2, z1)  d2 = DequantizeLinear <axis = 1> (q2, s2, z1)
      f = Reshape(d2, flat)
      q3 = QuantizeLinear <axis = 1> (f, s2, z1)  d3 = DequantizeLinear <axis = 1> (q3, s2, z1)
      w2 = DequantizeLinear <axis = 0> (w2q, w2s, w2z)  t2 = Transpose <perm = [1,0]> (w2)
      p = MatMul(d3, t2)  y = Add(p, b2)
    }"""
    model = model_of(
        text, 20, s0=0.03, z0=np.uint8(128), w1q=int8(6, 3, 3, 3), w1s=scales(6),
        w1z=np.zeros(6, np.int8), b1=floats(6), s1=0.02, z1=np.uint8(0), s2=0.01,
        axes=np.array([2, 3]), flat=np.array([2, 6]), w2q=int8(5, 6), w2s=scales(5),
        w2z=np.zeros(5, np.int8), b2=floats(5),
    )  # fmt: skip
    return model, {"x": floats(2, 3, 8, 8) * 2}


def nncf() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    text = """(float[2,4,9,9] x) => (float y) {
      q0 = QuantizeLinear(x, s0, z0)  d0 = DequantizeLinear(q0, s0, z0)
      v1 = QuantizeLinear <axis = 0> (w1, w1s, w1z)  e1 = DequantizeLinear <axis = 0> (v1, w1s, w1z)
      c1 = Conv <group = 4, pads = [1,1,1,1]> (d0, e1, b1)  r1 = Clip(c1, zero, six)
      q1 = QuantizeLinear(r1, s1, z1)  d1 = DequantizeLinear(q1, s1, z1)
      v2 = QuantizeLinear(w2, w2s, w2z)  e2 = DequantizeLinear(v2, w2s, w2z)
      c2 = Conv(d1, e2)  a = Add(c2, d1)
      q2 = QuantizeLinear(a, s1, z0)  d2 = DequantizeLinear(q2, s1, z0)
      g = GlobalAveragePool(d2)  f = Flatten(g)  e3 = DequantizeLinear <axis = 1> (w3, w3s)
      y = MatMul(f, e3)
    }"""
    model = model_of(
        text, 13, s0=0.03, z0=np.uint8(120), w1=floats(4, 1, 3, 3), w1s=scales(4),
        w1z=np.zeros(4, np.int8), b1=floats(4), zero=0.0, six=6.0, s1=6 / 255, z1=np.uint8(0),
        w2=floats(4, 4, 1, 1), w2s=0.01, w2z=np.int8(0), w3=int8(4, 5), w3s=scales(5),
    )  # fmt: skip
    return model, {"x": floats(2, 4, 9, 9) * 3}


def sparseml() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    text = """(int64[2,7] ids, float[2,3,8,8] x) => (float y, float image) {
      g = Gather(table, ids)  h = DequantizeLinear(g, ts, half)
      q = QuantizeLinear(h, s0, z0)
      tk = Transpose(wk)  kp = MatMulInteger(q, tk, z0, half)  ka = Add(kp, bk)
      kc = Cast <to = 1> (ka)  k = Mul(kc, ks)
      vp = MatMulInteger(q, wv, z0, half)  va = Add(bv, vp)  vc = Cast <to = 1> (va)  v = Mul(vc, vs)
      kt = Transpose <perm = [0,2,1]> (k)
      q1 = QuantizeLinear(v, s1, z1)  q2 = QuantizeLinear(kt, s1, z1)
      sp = MatMulInteger(q1, q2, z1, z1)  sc = Cast <to = 1> (sp)  sm = Mul(sc, ss)
      p = Softmax <axis = -1> (sm)
      q3 = QuantizeLinear(p, s2, z2)  cp = MatMulInteger(q3, q1, z2, z1)
      cc = Cast <to = 1> (cp)  y = Mul(cc, cs)
      qx = QuantizeLinear(x, s0, z0)  ci = ConvInteger <pads = [1,1,1,1]> (qx, wc, z0, half)
      ca = Add(ci, bc)  cf = Cast <to = 1> (ca)  cm = Mul(cf, cw)  image = Relu(cm)
    }"""
    model = model_of(
        text, 13, table=uint8(20, 16), ts=0.02, half=np.uint8(128), s0=0.02, z0=np.uint8(110),
        wk=uint8(16, 16), bk=np.arange(16, dtype=np.int32) * 20, ks=scales(16) / 50,
        wv=uint8(16, 16), bv=np.arange(16, dtype=np.int32) * -20, vs=0.0002, s1=0.02,
        z1=np.uint8(128), ss=0.0004, s2=1 / 255, z2=np.uint8(0), cs=0.0001, wc=uint8(6, 3, 3, 3),
        bc=np.arange(6, dtype=np.int32).reshape(1, 6, 1, 1) * 100,
        cw=(scales(6) / 50).reshape(1, 6, 1, 1),
    )  # fmt: skip
    return model, {"ids": RNG.integers(0, 20, (2, 7)), "x": floats(2, 3, 8, 8)}


FORMS = {
    "torchao": (torchao, {"QConv": 1, "QLinear": 1}, 0.02),
    "nncf": (nncf, {"QConv": 2, "Linear": 1}, 0.02),
    "sparseml": (sparseml, {"QConv": 1, "QLinear": 2, "QMatMul": 2}, 0.02),
}


@pytest.mark.parametrize("name", FORMS)
def test_form(name: str) -> None:
    build, counts, step = FORMS[name]
    model, feeds = build()
    ops = folded_ops(model, feeds)
    assert {op: ops.count(op) for op in counts} == counts
    assert not {"MatMulInteger", "ConvInteger", "Conv", "MatMul"} & set(ops)
    check_agreement(model, feeds, step)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("is_symmetric", [False, True])
def test_blocks(bits: int, is_symmetric: bool) -> None:
    """MatMulNBitsQuantizer of ONNX Runtime."""
    quantizer = pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    model = model_of("(float[3,40] x) => (float y) { y = MatMul(x, w) }", 17, w=floats(40, 12))
    made = quantizer.MatMulNBitsQuantizer(
        model, bits=bits, block_size=16, is_symmetric=is_symmetric, accuracy_level=1
    )
    made.process()
    packed = made.model.model
    assert "MatMulNBits" in {node.op_type for node in packed.graph.node}
    check_agreement(packed, {"x": floats(3, 40)}, 1e-5)


def test_zeros_of_uint8_weights_are_seen() -> None:
    """A pruned weight is the byte 128, its zero point."""
    rng = np.random.default_rng(47)
    kept = rng.random((256, 256)) < 0.1
    weights = np.where(kept, rng.integers(0, 128, kept.shape), 128).astype(np.uint8)
    text = """(float[64,256] x) => (float y) {
      q = QuantizeLinear(x, s0, z0)  p = MatMulInteger(q, w, z0, half)
      c = Cast <to = 1> (p)  y = Mul(c, ws)
    }"""
    model = model_of(text, 13, s0=0.02, z0=np.uint8(110), w=weights, half=np.uint8(128), ws=0.0002)
    engine = colonnade.compile(model, threads=1, fallback="forbid", tune="off")
    (layer,) = [node for node in engine.explain().nodes if node.weights is not None]
    assert layer.weights.sparsity == 1 - kept.mean()
