"""Quantized models run on 8-bit kernels: which ones, the same bits everywhere, shapes, saved plans."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

import colonnade
import quantized_models
from colonnade.engine.tuner import TuneMode
from colonnade.planner import precision
from colonnade.planner.cost import FOURS_TRIED
from forced_tuner import FAST_S, SLOW_S, force_choices
from kernels.harness import AVAILABLE

quantization = pytest.importorskip("onnxruntime.quantization")


@cache
def image_model(is_signed: bool) -> onnx.ModelProto:
    """A small convolutional model in QDQ form."""
    kind = quantization.QuantType.QInt8 if is_signed else quantization.QuantType.QUInt8
    return quantized_models.quantize_static(
        quantized_models.image_model(), lambda i: quantized_models.image_feeds(2, i),
        quant_format=quantization.QuantFormat.QDQ, activation_type=kind,
        weight_type=quantization.QuantType.QInt8, per_channel=True,
    )  # fmt: skip


def answers(
    model: onnx.ModelProto, batch: int = 2, threads: int = 2, tune: TuneMode = "fast"
) -> np.ndarray:
    engine = colonnade.compile(model, threads=threads, fallback="forbid", tune=tune)
    return engine.run(quantized_models.image_feeds(batch))["y"]


@pytest.mark.parametrize("is_signed", [False, True])
def test_every_instruction_set_gives_the_same_bits(
    is_signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = image_model(is_signed)
    expected = answers(model, threads=1)
    for isa in AVAILABLE:
        monkeypatch.setenv("COLONNADE_MAX_ISA", isa)
        for threads in (1, 2):
            np.testing.assert_array_equal(answers(model, threads=threads), expected)


def test_products_and_sums_run_in_8_bits() -> None:
    engine = colonnade.compile(image_model(False), fallback="forbid")
    engine.run(quantized_models.image_feeds(1))
    kernels = [node.kernel for node in engine.explain().nodes]
    assert {"qconv", "qdepthwise", "qmatmul_columns", "bytes_binary"} <= set(kernels)
    assert not {"conv", "depthwise", "matmul_columns"} & set(kernels)


def pruned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with three of four weights zero, four at a time along the channels."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    rng = np.random.default_rng(0)
    for tensor in made.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype != np.int8 or array.ndim != 4 or array.shape[1] == 1:
            continue
        fours = rng.random((array.shape[0], array.shape[1] // 4, *array.shape[2:])) < 0.25
        kept = np.where(np.repeat(fours, 4, axis=1), array, np.int8(0))
        tensor.CopyFrom(onnx.numpy_helper.from_array(kept, tensor.name))
    return made


@pytest.mark.parametrize("wanted", ["dense", "sparse"])
def test_no_choice_changes_a_bit(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pruned(image_model(False))
    expected = answers(model, threads=1, tune="off")
    asked = force_choices(monkeypatch, wanted)
    for isa in AVAILABLE:
        monkeypatch.setenv("COLONNADE_MAX_ISA", isa)
        for threads in (1, 2):
            np.testing.assert_array_equal(answers(model, threads=threads), expected)
    engine = colonnade.compile(model, fallback="forbid")
    engine.run(quantized_models.image_feeds(2))
    kernels = {node.kernel for node in engine.explain().nodes}
    assert ("qsparse_conv" in kernels) is (wanted == "sparse")
    assert any(key.startswith("8-bit conv 4x12x10x8x") for key in asked)
    assert any(key.startswith("8-bit product m8 k8 n") for key in asked)


MODELS = {
    "image": (lambda: pruned(image_model(False)), quantized_models.image_feeds),
    "signed": (lambda: image_model(True), quantized_models.image_feeds),
    "text": (
        lambda: quantized_models.quantize_dynamic(
            quantized_models.text_model(), weight_type=quantization.QuantType.QInt8
        ),
        quantized_models.text_feeds,
    ),
}
"""Zeros of uint8 activations; int8 activations; scales and zero points of the run."""


@pytest.mark.parametrize("name", MODELS)
def test_float32_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, make_feeds = MODELS[name]
    model, feeds = build(), make_feeds(2)
    monkeypatch.setattr(precision, "FORM_DOUBT", math.inf)
    kernels: dict[str, set[str]] = {}
    answers: dict[str, list[bytes]] = {}
    for wanted in ("8-bit", "float32"):
        force_choices(monkeypatch, wanted)
        for isa in AVAILABLE:
            monkeypatch.setenv("COLONNADE_MAX_ISA", isa)
            for threads in (1, 2):
                engine = colonnade.compile(model, threads=threads, fallback="forbid")
                made = engine.run(feeds)
                answers.setdefault(wanted, []).append(made["y"].tobytes())
                kernels[wanted] = {node.op for node in engine.explain().nodes}
    assert len(set(answers["8-bit"]) | set(answers["float32"])) == 1
    assert "QLinear" in kernels["8-bit"]
    assert not {"QLinear", "QConv"} & kernels["float32"]


def test_the_model_of_costs_decides_where_nothing_is_measured() -> None:
    for model, kernel in (
        (pruned(image_model(False)), "qsparse_conv"),
        (image_model(False), "qconv"),
    ):
        engine = colonnade.compile(model, fallback="forbid", tune="off")
        engine.run(quantized_models.image_feeds(2))
        assert kernel in {node.kernel for node in engine.explain().nodes}


def test_explain_gives_fours_and_the_measured_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    force_choices(monkeypatch, "sparse")
    engine = colonnade.compile(pruned(image_model(False)), fallback="forbid")
    engine.run(quantized_models.image_feeds(2))
    found = [n for n in engine.explain().nodes if n.kernel.startswith("qsparse")]
    assert found
    for node in found:
        assert node.weights is not None and node.weights.gain == SLOW_S / FAST_S
        assert node.weights.fours is not None and node.weights.fours < FOURS_TRIED
        assert f"{node.weights.fours:.0%} of fours, measured 2.0x dense" in node.why


def test_explain_says_why_parts_of_a_quantized_model_are_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    force_choices(monkeypatch, "8-bit")
    build, make_feeds = MODELS["text"]
    engine = colonnade.compile(build(), fallback="forbid")
    engine.run(make_feeds(1))
    why = {node.op: node.why for node in engine.explain().nodes}
    assert "in float32: no 8-bit kernel for LayerNorm" in why["LayerNorm"]
    assert "in float32" not in why["QLinear"]
    monkeypatch.setattr(precision, "FORM_DOUBT", math.inf)
    force_choices(monkeypatch, "float32")
    engine = colonnade.compile(build(), fallback="forbid")
    engine.run(make_feeds(1))
    told = [node.why for node in engine.explain().nodes if node.op == "Linear"]
    assert told and all("measured 2.0x the 8-bit kernel, borders included" in text for text in told)


def test_a_product_that_no_8_bit_kernel_takes_says_so() -> None:
    model = quantized_models.quantize_dynamic(
        quantized_models.text_model(), weight_type=quantization.QuantType.QInt8,
        extra_options={"WeightSymmetric": False},
    )  # fmt: skip
    engine = colonnade.compile(model, fallback="forbid")
    engine.run(quantized_models.text_feeds(1))
    told = [node.why for node in engine.explain().nodes if node.op == "Linear"]
    assert any("no 8-bit kernel for weights with a zero point" in text for text in told)


def test_a_sparse_kernel_that_is_slower_is_an_advisory(monkeypatch: pytest.MonkeyPatch) -> None:
    force_choices(monkeypatch, "dense")
    engine = colonnade.compile(pruned(image_model(False)), fallback="forbid")
    engine.run(quantized_models.image_feeds(2))
    told = [text for node in engine.explain().nodes for text in node.advisories]
    assert any("of fours are zero, the sparse kernel would run at 0.50x" in text for text in told)


def test_a_saved_plan_gives_the_same_bits(tmp_path: Path) -> None:
    engine = colonnade.compile(image_model(True), fallback="forbid")
    feeds = quantized_models.image_feeds(2)
    expected = engine.run(feeds)
    path = tmp_path / "model.colonnade"
    engine.save(path)
    for name, value in colonnade.load(path).run(feeds).items():
        np.testing.assert_array_equal(value, expected[name])
