"""Small models for the engine's tests, as ONNX text with random weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser


def make_model(text: str, opset: int = 17, **constants: np.ndarray) -> onnx.ModelProto:
    """A model from `name (inputs) => (outputs) { nodes }`."""
    imports = f'opset_import: ["" : {opset}, "test" : 1]'
    model = parser.parse_model(f"<ir_version: 9, {imports}>\n{text}")
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in constants.items()
    )
    return model


def weights(*shape: int) -> np.ndarray:
    """Random float32 numbers, the same for the same shape."""
    return np.random.default_rng([9, *shape]).standard_normal(shape).astype(np.float32)


def image_model(batch: int | str = 2) -> onnx.ModelProto:
    """Convolutions with a residual, a pooled head: native only."""
    return make_model(
        f"image (float[{batch},3,13,11] x) => (float[{batch},7] y) {{"
        "a = Conv <pads = [1,1,1,1]> (x, w1, b1)  r = Relu(a)"
        "c = Conv <pads = [1,1,1,1]> (r, w2)  s = Add(c, r)  t = Relu(s)"
        "g = GlobalAveragePool(t)  f = Flatten(g)  y = Gemm(f, w3, b3) }",
        w1=weights(20, 3, 3, 3), b1=weights(20), w2=weights(20, 20, 3, 3) / 8,
        w3=weights(20, 7), b3=weights(7),
    )  # fmt: skip


def text_model() -> onnx.ModelProto:
    """One attention block with symbolic batch and length; inputs are indices and a mask."""
    return make_model(
        "text (int64[B,S] ids, float[B,1,1,S] mask) => (float[B,S,32] y) {"
        "e = Gather(table, ids)  n = LayerNormalization(e, scale, bias)"
        "q = MatMul(n, wq)  k = MatMul(n, wk)  v = MatMul(n, wv)"
        "qs = Reshape(q, heads)  ks = Reshape(k, heads)  vs = Reshape(v, heads)"
        "qt = Transpose <perm = [0,2,1,3]> (qs)  kt = Transpose <perm = [0,2,3,1]> (ks)"
        "vt = Transpose <perm = [0,2,1,3]> (vs)"
        "p = MatMul(qt, kt)  m = Add(p, mask)  a = Softmax(m)  o = MatMul(a, vt)"
        "t = Transpose <perm = [0,2,1,3]> (o)  j = Reshape(t, joined)  y = Add(j, e) }",
        table=weights(50, 32), scale=weights(32), bias=weights(32), wq=weights(32, 32) / 6,
        wk=weights(32, 32) / 6, wv=weights(32, 32), heads=np.array([0, 0, 4, 8], np.int64),
        joined=np.array([0, 0, 32], np.int64),
    )  # fmt: skip


def text_inputs(batch: int = 2, length: int = 9) -> dict[str, np.ndarray]:
    """Inputs of `text_model`; the last position is masked."""
    mask = np.zeros((batch, 1, 1, length), np.float32)
    mask[..., -1] = -1e4
    ids = np.random.default_rng(4).integers(0, 50, (batch, length))
    return {"ids": ids, "mask": mask}


def mixed_model() -> onnx.ModelProto:
    """A node that no native kernel takes, between two that are native."""
    return make_model(
        'mixed (float[4,4] x) => (float[4,4] y) { a = Relu(x)  d = Einsum <equation = "ii->i"> (a)'
        "s = Sinh(d)  y = Add(a, s) }"
    )
