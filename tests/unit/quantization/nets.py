"""Tiny models for quantization, as ONNX text, with seeded weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

Feeds = dict[str, np.ndarray]

RESIDUAL = """
(float[N,4,8,8] x) => (float[N,5] y) {
  c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)  r1 = Relu(c1)
  p1 = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r1)
  c2 = Conv <pads = [1,1,1,1]> (p1, w2, b2)  r2 = Relu(c2)
  c3 = Conv(r2, w3)
  a = Add(c3, p1)  r3 = Relu(a)
  g = GlobalAveragePool(r3)
  f = Flatten(g)
  y = Gemm <transB = 1> (f, w4, b4)
}"""
RESIDUAL_SHAPES = {
    "w1": (8, 4, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "b2": (8,), "w3": (8, 8, 1, 1),
    "w4": (5, 8), "b4": (5,),
}  # fmt: skip

BRANCHES = """
(float[N,4,8,8] x) => (float[N,6,8,8] y, float[N,12,8,8] z) {
  c1 = Conv(x, w1)  c2 = Conv <pads = [1,1,1,1]> (x, w2)
  z = Concat <axis = 1> (c1, c2)
  y = Conv(z, w3)
}"""
BRANCHES_SHAPES = {"w1": (8, 4, 1, 1), "w2": (4, 4, 3, 3), "w3": (6, 12, 1, 1)}

TEXT = """
(float[N,S,16] x) => (float[N,S,16] y) {
  n = LayerNormalization(x, gamma, beta)
  f0 = MatMul(n, wf)  f1 = Add(f0, bf)  f2 = Relu(f1)
  g0 = MatMul(f2, wg)  g1 = Add(g0, bg)
  y = Add(g1, x)
}"""
TEXT_SHAPES = {
    "gamma": (16,), "beta": (16,), "wf": (16, 32), "bf": (32,), "wg": (32, 16), "bg": (16,),
}  # fmt: skip

OTHERS = """
(float[N,4,6,6] x) => (float[N,3,12,12] y) {
  c = Conv <pads = [1,1,1,1]> (x, w1)
  s = Sigmoid(c)  m = Mul(c, s)
  y = ConvTranspose <kernel_shape = [2,2], strides = [2,2]> (m, w2)
}"""
OTHERS_SHAPES = {"w1": (4, 4, 3, 3), "w2": (4, 3, 2, 2)}


def make_model(
    text: str, shapes: dict[str, tuple[int, ...]], *, zeros: float = 0.4, opset: int = 17
) -> onnx.ModelProto:
    """The model with normal weights, a share of which are zero."""
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]> g {text}')
    rng = np.random.default_rng(23)
    for name, shape in shapes.items():
        made = rng.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 4))
        if len(shape) > 1:
            made[rng.random(shape) < zeros] = 0
        if name == "gamma":
            made = np.abs(made) + 0.5
        model.graph.initializer.append(numpy_helper.from_array(made.astype(np.float32), name))
    onnx.checker.check_model(model)
    return model


def samples(shape: tuple[int, ...], count: int = 4, seed: int = 5) -> list[Feeds]:
    """Normal inputs called x."""
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(count)]


CASES = {
    "residual": (RESIDUAL, RESIDUAL_SHAPES, (2, 4, 8, 8)),
    "branches": (BRANCHES, BRANCHES_SHAPES, (2, 4, 8, 8)),
    "text": (TEXT, TEXT_SHAPES, (2, 7, 16)),
    "others": (OTHERS, OTHERS_SHAPES, (2, 4, 6, 6)),
}


def with_values(model: onnx.ModelProto, op: str) -> onnx.ModelProto:
    """The model with what every node of this operator makes as outputs too."""
    widened = onnx.ModelProto()
    widened.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    for node in model.graph.node:
        if node.op_type == op and node.output[0] not in known:
            kind = TensorProto.UINT8 if op == "QuantizeLinear" else TensorProto.FLOAT
            widened.graph.output.append(helper.make_tensor_value_info(node.output[0], kind, None))
    return widened


def run_peer(model: onnx.ModelProto, feeds: Feeds, *, as_written: bool) -> Feeds:
    """ONNX Runtime's answer, every node as it is written or optimised."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))
