"""Quantized models run on 8-bit kernels: which ones, the same bits everywhere, shapes, saved plans."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

import colonnade
import quantized_models
from colonnade.planner.lower import quantized
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


def answers(model: onnx.ModelProto, batch: int = 2, threads: int = 2) -> np.ndarray:
    engine = colonnade.compile(model, threads=threads, fallback="forbid")
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


def test_zeros_are_left_out_and_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pruned(image_model(False))
    engine = colonnade.compile(model, fallback="forbid")
    found = engine.run(quantized_models.image_feeds(2))["y"]
    assert "qsparse_conv" in {node.kernel for node in engine.explain().nodes}
    monkeypatch.setattr(quantized, "DENSITY_MAX", 0.0)
    dense = colonnade.compile(model, fallback="forbid")
    np.testing.assert_array_equal(dense.run(quantized_models.image_feeds(2))["y"], found)
    assert "qsparse_conv" not in {node.kernel for node in dense.explain().nodes}
    monkeypatch.undo()
    for isa in AVAILABLE:
        monkeypatch.setenv("COLONNADE_MAX_ISA", isa)
        np.testing.assert_array_equal(answers(model), found)


def test_a_saved_plan_gives_the_same_bits(tmp_path: Path) -> None:
    engine = colonnade.compile(image_model(True), fallback="forbid")
    feeds = quantized_models.image_feeds(2)
    expected = engine.run(feeds)
    path = tmp_path / "model.colonnade"
    engine.save(path)
    for name, value in colonnade.load(path).run(feeds).items():
        np.testing.assert_array_equal(value, expected[name])
