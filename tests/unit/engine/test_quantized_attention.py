"""Quantized attention runs as one node: as ONNX Runtime has it, with the same bits everywhere."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import colonnade
import quantized_models
from golden import quantized_attention
from golden.builder import Case, build_graph, build_model, make_feeds
from kernels.harness import AVAILABLE
from unit.engine.test_pair_products import onnxruntime_outputs

CASES = [case for case in quantized_attention.CASES if case.fuses]
STEP = 0.0625
"""Of quantized values in the cases."""
PROBABILITY_STEP = 1 / 256


def compiled(model: onnx.ModelProto, threads: int = 2) -> colonnade.Engine:
    return colonnade.compile(model, threads=threads, fallback="forbid", tune="off")


def kernels_of(engine: colonnade.Engine) -> list[str]:
    return [node.kernel for node in engine.explain().nodes]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_forms(case: Case) -> None:
    model = build_model(case)
    feeds = make_feeds(case, build_graph(case))
    engine = compiled(model)
    (made,) = engine.run(feeds).values()
    assert "qattention" in kernels_of(engine)
    assert "softmax" not in kernels_of(engine)
    (expected,) = onnxruntime_outputs(model, feeds)
    # A weight that rounds the other way moves an output by a step of it times a value.
    values = max(np.abs(expected).max(), 1)
    bound = STEP if "border" in case.name or "output" in case.name else PROBABILITY_STEP * values
    assert np.abs(made - expected).max() <= bound * 1.001


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_instruction_set_gives_the_same_bits(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(case)
    feeds = make_feeds(case, build_graph(case))
    (expected,) = compiled(model, 1).run(feeds).values()
    for isa in AVAILABLE:
        monkeypatch.setenv("COLONNADE_MAX_ISA", isa)
        for threads in (1, 2):
            (made,) = compiled(model, threads).run(feeds).values()
            np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("is_everything", [False, True])
def test_a_layer_of_a_producer(kind: str, is_everything: bool) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    model = quantized_models.quantize_static(
        quantized_models.text_model(), lambda i: quantized_models.text_feeds(seed=10 + i),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType[kind], weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=None if is_everything else ["MatMul"],
    )  # fmt: skip
    feeds = quantized_models.text_feeds(3)
    engine = compiled(model)
    made = engine.run(feeds)["y"]
    assert kernels_of(engine).count("qattention") == 1
    assert not {"softmax", "qmatmul_rows"} & set(kernels_of(engine))
    (expected,) = onnxruntime_outputs(model, feeds)
    scales = [
        onnx.numpy_helper.to_array(t).max() for t in model.graph.initializer if "scale" in t.name
    ]
    assert np.abs(made - expected).max() <= max(scales)
