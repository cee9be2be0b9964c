"""Concat and Split of 8-bit columns count features in groups of four.

A part whose features do not fill its last group cannot be followed by another in columns.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import colonnade
from tolerance import tolerance

TEXT = """<ir_version: 9, opset_import: ["" : 17]>
g (float[2,4,8,8] x) => (float[2,6,8,8] y, float[2,A,8,8] left, float[2,B,8,8] right)
<float s = {0.0517321}, uint8 z = {100}, float ws = {0.0103471}, int8 wz = {0}> {
  q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
  k1 = DequantizeLinear(w1, ws, wz)  c1 = Conv(d, k1)
  k2 = DequantizeLinear(w2, ws, wz)  c2 = Conv(d, k2)
  q1 = QuantizeLinear(c1, s, z)  d1 = DequantizeLinear(q1, s, z)
  q2 = QuantizeLinear(c2, s, z)  d2 = DequantizeLinear(q2, s, z)
  c = Concat <axis = 1> (d1, d2)
  qc = QuantizeLinear(c, s, z)  dc = DequantizeLinear(qc, s, z)
  k3 = DequantizeLinear(w3, ws, wz)  y = Conv(dc, k3)
  left, right = Split <axis = 1> (dc, sizes)
}"""


@pytest.mark.parametrize("parts", [(8, 4), (8, 3), (6, 6), (3, 5), (16, 1)])
def test_every_count_of_features(parts: tuple[int, int]) -> None:
    text = TEXT.replace("[2,A,", f"[2,{parts[0]},").replace("[2,B,", f"[2,{parts[1]},")
    model = parser.parse_model(text)
    rng = np.random.default_rng(2)
    shapes = {"w1": (parts[0], 4, 1, 1), "w2": (parts[1], 4, 1, 1), "w3": (6, sum(parts), 1, 1)}
    for name, shape in shapes.items():
        array = rng.integers(-127, 128, shape, np.int8)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.initializer.append(numpy_helper.from_array(np.array(parts), "sizes"))
    onnx.checker.check_model(model)
    feeds = {"x": rng.standard_normal((2, 4, 8, 8)).astype(np.float32)}
    found = colonnade.compile(model, threads=2, fallback="forbid", tune="off").run(feeds)
    wanted = colonnade.compile(model, runtime="reference").run(feeds)
    for name, array in wanted.items():  # the scales leave no value near the middle of two steps
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance(17, 10.0, 1.0))
