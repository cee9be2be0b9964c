"""Files of every producer's quantizer: they run natively and agree with ONNX Runtime.

Within one step at every 8-bit value; ties and float32 sums are rounded in another order there. Its
own kernels of uint8 x int8 saturate on CPUs without VNNI: weights that they would run have 7 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import colonnade
import quantized_models
from colonnade.onnx.importer import import_model
from colonnade.passes import pipeline
from colonnade.passes.dequantize_products import dequantize_products
from colonnade.passes.runner import run_passes

ort = pytest.importorskip("onnxruntime")
quantization = pytest.importorskip("onnxruntime.quantization")
S8, U8 = quantization.QuantType.QInt8, quantization.QuantType.QUInt8
QDQ, OPERATOR = quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator

STATIC: dict[str, dict[str, Any]] = {
    "qdq_s8s8": {"quant_format": QDQ, "activation_type": S8, "weight_type": S8},
    "qdq_u8s8": {"quant_format": QDQ, "activation_type": U8, "weight_type": S8},
    "qdq_u8s8_channels": {
        "quant_format": QDQ, "activation_type": U8, "weight_type": S8, "per_channel": True,
    },
    "qdq_u8u8": {"quant_format": QDQ, "activation_type": U8, "weight_type": U8},
    "qdq_float_weights": {
        "quant_format": QDQ, "activation_type": U8, "weight_type": S8,
        "extra_options": {"AddQDQPairToWeight": True},
    },
    "operator_u8s8": {
        "quant_format": OPERATOR, "activation_type": U8, "weight_type": S8, "reduce_range": True,
    },
    "operator_u8s8_channels": {
        "quant_format": OPERATOR, "activation_type": U8, "weight_type": S8, "per_channel": True,
        "reduce_range": True,
    },
    "operator_s8s8": {"quant_format": OPERATOR, "activation_type": S8, "weight_type": S8},
}  # fmt: skip
MODELS: dict[str, tuple[Callable[[], onnx.ModelProto], Callable[..., dict[str, np.ndarray]]]] = {
    "image": (quantized_models.image_model, quantized_models.image_feeds),
    "text": (quantized_models.text_model, quantized_models.text_feeds),
}


def onnxruntime_outputs(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Unoptimised: every node as it is written."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


def check_agreement(model: onnx.ModelProto, feeds: dict[str, np.ndarray], steps: float) -> None:
    """Every 8-bit value within a step, floats within `steps`, a step of the last layer."""
    widened = quantized_models.with_integer_outputs(model)
    for built in (model, widened):
        engine = colonnade.compile(built, threads=1, fallback="forbid", tune="off")
        got = list(engine.run(feeds).values())
        wanted = onnxruntime_outputs(built, feeds)
        for made, expected, info in zip(got, wanted, built.graph.output, strict=True):
            assert made.dtype == expected.dtype, info.name
            bound = 1 if expected.dtype.kind in "iu" else steps
            difference = np.abs(made.astype(np.float64) - expected.astype(np.float64))
            assert difference.max(initial=0) <= bound, info.name


def last_step(model: onnx.ModelProto) -> float:
    """The greatest scale of the file: a step of any output of its."""
    scales = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name.endswith("_scale")
    ]
    return float(max(scale.max() for scale in scales))


def folded_ops(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[str]:
    """Operators of the graph before products are put back into float32."""
    passes = [p for p in pipeline.PASSES if p is not dequantize_products]
    from colonnade.onnx.contrib_types import infer_any_node
    from colonnade.passes.specialise import specialise
    from colonnade.reference import evaluate

    shapes = {name: array.shape for name, array in feeds.items()}
    graph = specialise(import_model(model), shapes, infer_any_node, evaluate)
    return [node.op for node in run_passes(graph, passes).graph.nodes]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", STATIC)
def test_static(name: str, form: str) -> None:
    build, make_feeds = MODELS[name]
    model = quantized_models.quantize_static(
        build(), lambda i: make_feeds(seed=10 + i), **STATIC[form]
    )
    feeds = make_feeds(3)
    check_agreement(model, feeds, last_step(model))
    ops = folded_ops(model, feeds)
    wanted = {"image": ("QConv", "QLinear"), "text": ("QLinear", "QAttention")}[name]
    assert set(wanted) <= set(ops)
    assert not {"Conv", "MatMul", "Gemm", "Linear"} & set(ops), ops


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weight_type", [S8, U8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamic(name: str, weight_type: Any, per_channel: bool) -> None:
    build, make_feeds = MODELS[name]
    model = quantized_models.quantize_dynamic(
        build(), weight_type=weight_type, per_channel=per_channel, reduce_range=weight_type is S8
    )
    feeds = make_feeds(3)
    ops = folded_ops(model, feeds)
    assert {"MatMulInteger", "ConvInteger"}.isdisjoint(ops)
    assert ops.count("QLinear") == {"image": 1, "text": 6}[name]
    wanted = onnxruntime_outputs(model, feeds)
    engine = colonnade.compile(model, threads=1, fallback="forbid", tune="off")
    for made, expected in zip(engine.run(feeds).values(), wanted, strict=True):
        assert np.abs(made - expected).max() <= np.abs(expected).max() / 128


@pytest.mark.parametrize("name", MODELS)
def test_shapes_share_weights_and_plans_are_saved(name: str, tmp_path: Path) -> None:
    build, make_feeds = MODELS[name]
    model = quantized_models.quantize_static(
        build(), lambda i: make_feeds(seed=10 + i), **STATIC["qdq_u8s8_channels"]
    )
    engine = colonnade.compile(model, threads=2, tune="off")
    fresh = colonnade.compile(model, threads=2, tune="off")
    first, second = make_feeds(2), make_feeds(5, seed=3)
    (alone,) = fresh.run(second).values()
    (before,) = engine.run(first).values()
    np.testing.assert_array_equal(next(iter(engine.run(second).values())), alone)
    engine.save(tmp_path / "plan.colonnade")
    loaded = colonnade.load(tmp_path / "plan.colonnade", threads=2)
    np.testing.assert_array_equal(next(iter(loaded.run(first).values())), before)
    np.testing.assert_array_equal(next(iter(loaded.run(second).values())), alone)
