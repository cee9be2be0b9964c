"""Small models, and what ONNX Runtime's quantizers make of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

Feeds = dict[str, np.ndarray]

IMAGE_TEXT = """
(float[N,4,12,10] x) => (float[N,7] y) {
  c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
  r1 = Relu(c1)
  c2 = Conv <pads = [1,1,1,1], group = 8> (r1, w2, b2)
  r2 = Clip(c2, zero, six)
  c3 = Conv(r2, w3, b3)
  a = Add(c3, r1)
  m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (a)
  l = LeakyRelu <alpha = 0.1> (m)
  s = Sigmoid(l)
  p = Mul(l, s)
  k = Concat <axis = 1> (p, l)
  v = AveragePool <kernel_shape = [2,2]> (k)
  g = GlobalAveragePool(v)
  f = Flatten(g)
  y = Gemm <transB = 1> (f, w4, b4)
}"""
TEXT_TEXT = """
(int64[N,S] ids) => (float[N,S,16] y) {
  h = Gather(table, ids)
  q0 = MatMul(h, wq)  q1 = Add(q0, bq)  q2 = Reshape(q1, heads)
  q = Transpose <perm = [0,2,1,3]> (q2)
  k0 = MatMul(h, wk)  k1 = Add(k0, bk)  k2 = Reshape(k1, heads)
  k = Transpose <perm = [0,2,3,1]> (k2)
  v0 = MatMul(h, wv)  v1 = Add(v0, bv)  v2 = Reshape(v1, heads)
  v = Transpose <perm = [0,2,1,3]> (v2)
  s0 = MatMul(q, k)  s1 = Mul(s0, root)  s = Softmax <axis = -1> (s1)
  c0 = MatMul(s, v)  c1 = Transpose <perm = [0,2,1,3]> (c0)  c = Reshape(c1, joined)
  o0 = MatMul(c, wo)  o1 = Add(o0, bo)  o = Add(o1, h)
  n = LayerNormalization(o, gamma, beta)
  f0 = MatMul(n, wf)  f1 = Add(f0, bf)  f2 = Relu(f1)
  g0 = MatMul(f2, wg)  g1 = Add(g0, bg)
  y = Add(g1, n)
}"""


def image_model() -> onnx.ModelProto:
    """Convolutions of three kinds, a residual sum, pooling, activations, a product."""
    shapes = {
        "w1": (8, 4, 3, 3), "b1": (8,), "w2": (8, 1, 3, 3), "b2": (8,), "w3": (8, 8, 1, 1),
        "b3": (8,), "w4": (7, 16), "b4": (7,),
    }  # fmt: skip
    numbers = {"zero": np.float32(0), "six": np.float32(6)}
    return _model(IMAGE_TEXT, shapes, numbers)


def text_model() -> onnx.ModelProto:
    """One layer of a transformer over an embedding."""
    square = dict.fromkeys(("wq", "wk", "wv", "wo"), (16, 16))
    shapes = {
        **square, **dict.fromkeys(("bq", "bk", "bv", "bo", "gamma", "beta", "bg"), (16,)),
        "table": (50, 16), "wf": (16, 32), "bf": (32,), "wg": (32, 16),
    }  # fmt: skip
    numbers = {
        "root": np.float32(0.5), "heads": np.array([0, 0, 4, 4]), "joined": np.array([0, 0, 16]),
    }  # fmt: skip
    return _model(TEXT_TEXT, shapes, numbers)


def _model(text: str, shapes: dict[str, tuple[int, ...]], numbers: dict[str, Any]) -> Any:
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> g {text}')
    rng = np.random.default_rng(41)
    made = {
        name: rng.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 4))
        for name, shape in shapes.items()
    }
    for name, array in {**made, **numbers}.items():
        kept = array if np.asarray(array).dtype == np.int64 else np.asarray(array, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(kept), name))
    return model


def image_feeds(batch: int = 2, seed: int = 1) -> Feeds:
    """Inputs of `image_model`."""
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((batch, 4, 12, 10)).astype(np.float32)}


def text_feeds(batch: int = 2, seed: int = 1) -> Feeds:
    """Inputs of `text_model`."""
    return {"ids": np.random.default_rng(seed).integers(0, 50, (batch, 9))}


def quantize_static(
    model: onnx.ModelProto, calibration: Callable[[int], Feeds], **options: Any
) -> onnx.ModelProto:
    """ONNX Runtime's static quantization; `calibration(i)` gives inputs."""
    from onnxruntime.quantization import quantize_static as quantize

    class Reader:
        def __init__(self) -> None:
            self.items: Iterator[Feeds] = iter([calibration(i) for i in range(4)])

        def get_next(self) -> Feeds | None:
            return next(self.items, None)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "quantized.onnx"
        quantize(_prepared(model, folder), out, Reader(), **options)
        return onnx.load(out)


def quantize_dynamic(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    """ONNX Runtime's dynamic quantization."""
    from onnxruntime.quantization import quantize_dynamic as quantize

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "quantized.onnx"
        quantize(_saved(model, folder), out, **options)
        return onnx.load(out)


def _prepared(model: onnx.ModelProto, folder: str) -> Path:
    """ONNX Runtime's own preparation: batch normalisation folded, shapes inferred."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = Path(folder) / "prepared.onnx"
    quant_pre_process(_saved(model, folder), path, skip_symbolic_shape=True)
    return path


def _saved(model: onnx.ModelProto, folder: str) -> Path:
    path = Path(folder) / "model.onnx"
    onnx.save(model, path)
    return path


_ZERO_INPUT = {
    "QuantizeLinear": 2, "QLinearConv": 7, "QLinearMatMul": 7, "QGemm": 8, "QLinearAdd": 7,
    "QLinearMul": 7, "QLinearSigmoid": 4, "QLinearLeakyRelu": 4, "QLinearSoftmax": 4,
    "QLinearGlobalAveragePool": 4, "QLinearAveragePool": 4, "QLinearConcat": 1,
}  # fmt: skip
"""Number of the zero point of the output, whose type the output has."""


def integer_values(model: onnx.ModelProto) -> dict[str, int]:
    """8-bit values that nodes make, and their element types; constants are left out."""
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    fixed = set(constants) | {
        out for node in model.graph.node if node.op_type == "Constant" for out in node.output
    }
    return {
        node.output[0]: constants.get(node.input[_ZERO_INPUT[node.op_type]], TensorProto.UINT8)
        for node in model.graph.node
        if node.op_type in _ZERO_INPUT
        and (node.op_type != "QuantizeLinear" or node.input[0] not in fixed)
    }


def with_integer_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every 8-bit value that a node makes as an output too."""
    widened = onnx.ModelProto()
    widened.CopyFrom(model)
    for name, kind in integer_values(model).items():
        widened.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return widened


def cut_at_integers(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """As `with_integer_outputs`, but what reads an 8-bit value reads an input `<name>/given`.

    So every layer can be run from another runtime's integers: how errors spread is left out.
    """
    cut = with_integer_outputs(model)
    values = integer_values(model)
    for node in cut.graph.node:
        for i, name in enumerate(node.input):
            if name in values:
                node.input[i] = f"{name}/given"
    for name, kind in values.items():
        given = helper.make_tensor_value_info(f"{name}/given", kind, shapes[name])
        cut.graph.input.append(given)
    return cut
