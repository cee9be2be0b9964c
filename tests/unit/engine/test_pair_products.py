"""Products of two 8-bit activations run natively: as the reference has them, and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import colonnade

ort = pytest.importorskip("onnxruntime")
TYPES = {"uint8": np.uint8, "int8": np.int8}
SHAPES = [((3, 8), (8, 5)), ((2, 3, 17, 33), (2, 3, 33, 19)), ((2, 1, 5, 7), (4, 7, 70))]


def product_model(a: str, b: str, y: str, shapes: tuple[tuple[int, ...], ...]) -> onnx.ModelProto:
    """MatMul of two DequantizeLinear; y quantized unless it is float."""
    quantized = y != "float"
    tail = "p = MatMul(d, e)  y = QuantizeLinear(p, sy, zy)" if quantized else "y = MatMul(d, e)"
    sizes = [", ".join(map(str, shape)) for shape in shapes]
    out = ", ".join(map(str, np.matmul(*(np.zeros(shape) for shape in shapes)).shape))
    model = parser.parse_model(
        f"""<ir_version: 9, opset_import: ["" : 21]>
        g ({a}[{sizes[0]}] a, {b}[{sizes[1]}] b) => ({y}[{out}] y) {{
          d = DequantizeLinear(a, sa, za)  e = DequantizeLinear(b, sb, zb)  {tail}
        }}"""
    )
    given: dict[str, np.ndarray] = {
        "sa": np.array(0.017, np.float32), "sb": np.array(0.023, np.float32),
        "za": np.array(7, TYPES[a]), "zb": np.array(100, TYPES[b]),
    }  # fmt: skip
    if quantized:
        given |= {"sy": np.array(0.3, np.float32), "zy": np.array(5, TYPES[y])}
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in given.items())
    return model


def onnxruntime_outputs(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Unoptimised: its 8-bit kernels saturate sums on CPUs without VNNI."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    content = model.SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def random_bytes(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    limits = np.iinfo(TYPES[kind])
    made = np.random.default_rng(shape).integers(limits.min, limits.max + 1, shape)
    return np.asarray(made.astype(TYPES[kind]))


@pytest.mark.parametrize("y", ["uint8", "int8", "float"])
@pytest.mark.parametrize(("a", "b"), [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_products(a: str, b: str, y: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    model = product_model(a, b, y, shapes)
    feeds = {"a": random_bytes(a, shapes[0]), "b": random_bytes(b, shapes[1])}
    engine = colonnade.compile(model, threads=2, fallback="forbid", tune="off")
    (made,) = engine.run(feeds).values()
    assert "qmatmul_rows" in {node.kernel for node in engine.explain().nodes}
    reference = colonnade.compile(model, runtime="reference")
    for expected in (onnxruntime_outputs(model, feeds)[0], reference.run(feeds)["y"]):
        bound = np.abs(expected).max() * 2**-20 if y == "float" else 1
        assert np.abs(made.astype(np.float64) - expected.astype(np.float64)).max() <= bound


def test_scales_and_zero_points_that_the_run_makes() -> None:
    model = parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 21]>
        g (float[2, 6, 9] x, float[2, 9, 11] z) => (float[2, 6, 11] y) {
          q, s, t = DynamicQuantizeLinear(x)  r, u, v = DynamicQuantizeLinear(z)
          p = MatMulInteger(q, r, t, v)  c = Cast <to = 1> (p)  f = Mul(s, u)  y = Mul(c, f)
        }"""
    )
    rng = np.random.default_rng(3)
    feeds = {
        "x": rng.uniform(-1, 3, (2, 6, 9)).astype(np.float32),
        "z": rng.uniform(-2, 1, (2, 9, 11)).astype(np.float32),
    }
    engine = colonnade.compile(model, fallback="forbid", tune="off")
    (made,) = engine.run(feeds).values()
    assert "qmatmul_rows" in {node.kernel for node in engine.explain().nodes}
    expected = colonnade.compile(model, runtime="reference").run(feeds)["y"]
    np.testing.assert_allclose(made, expected, rtol=2**-21)
