"""A transformer block as ONNX Runtime's optimiser writes it, all native."""

from __future__ import annotations

import numpy as np
import pytest

import colonnade
from tolerance import tolerance
from unit.engine.models import make_model, weights


def test_block_of_fused_operators() -> None:
    ort = pytest.importorskip("onnxruntime")
    model = make_model(
        "g (float[B,S,32] x) => (float[B,S,32] y) {"
        "q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)"
        "a = com.microsoft.MultiHeadAttention <num_heads = 4> (q, k, v)  o = MatMul(a, wo)"
        "n = com.microsoft.SkipLayerNormalization <epsilon = 0.00001> (o, x, scale, beta, bias)"
        "f = MatMul(n, w1)  g = com.microsoft.BiasGelu(f, b1)  h = MatMul(g, w2)"
        "y = com.microsoft.SkipLayerNormalization <epsilon = 0.00001> (h, n, scale, beta) }",
        wq=weights(32, 32) / 6, wk=weights(32, 32) / 6, wv=weights(32, 32) / 6,
        wo=weights(32, 32) / 6, scale=weights(32), beta=weights(32), bias=weights(32),
        w1=weights(32, 64) / 6, b1=weights(64), w2=weights(64, 32) / 8,
    )  # fmt: skip
    model.opset_import.add(domain="com.microsoft", version=1)
    engine = colonnade.compile(model, threads=2, fallback="forbid")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((1, 7, 32), (2, 20, 32)):
        x = weights(*shape)
        expected = session.run(None, {"x": x})[0]
        largest = float(np.abs(expected).max())
        bound = tolerance(32 * 4 + 64 * 2, largest, float(np.abs(x).max()))
        assert float(np.abs(engine.run([x])["y"] - expected).max()) <= bound
