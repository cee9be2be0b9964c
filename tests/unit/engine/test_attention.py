"""ONNX's own Attention natively, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

import colonnade
from tolerance import tolerance
from unit.engine.models import make_model


@pytest.mark.parametrize("attrs", ["", ", is_causal = 1", ", scale = 0.3"])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_onnx_attention(attrs: str, kv_heads: int) -> None:
    width = 8 * kv_heads
    model = make_model(
        f"g (float[2,19,32] q, float[2,19,{width}] k, float[2,19,{width}] v) => (float y) {{"
        f"y = Attention <q_num_heads = 4, kv_num_heads = {kv_heads}{attrs}> (q, k, v) }}",
        opset=23,
    )
    rng = np.random.default_rng(8)
    feeds = [rng.standard_normal((2, 19, w)).astype(np.float32) for w in (32, width, width)]
    expected = colonnade.compile(model, runtime="reference").run(feeds)["y"]
    made = colonnade.compile(model, threads=2, fallback="forbid").run(feeds)["y"]
    largest = [float(np.abs(x).max()) for x in feeds]
    score_error = tolerance(8, largest[0], largest[1])
    bound = tolerance(19, 1.0, largest[2]) + 2 * score_error * largest[2]
    assert float(np.abs(made - expected).max()) <= bound
