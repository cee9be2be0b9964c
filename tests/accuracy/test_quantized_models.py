"""Trained models in 8 bits, quantized by ONNX Runtime: every layer against ONNX Runtime's.

Each layer starts from ONNX Runtime's own integers. From end to end, one value that is rounded the
other way early on is dozens of steps late in the model, between two modes of ONNX Runtime too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest

import colonnade
import models
import quantized_models

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(900)]

CASES = {"efficientnet_lite0": (1, None), "minilm_l6": (1, 128)}
FORMS = ("QDQ", "QOperator")


@cache
def feeds_of(name: str) -> dict[str, np.ndarray]:
    """Real inputs; skips, naming the package, when the model cannot be had."""
    try:
        return dict(models.inputs(name, *CASES[name]))
    except (models.PackageUnavailableError, models.LibraryMissingError) as error:
        pytest.skip(str(error))


@cache
def quantized(name: str, form: str, is_symmetric: bool) -> onnx.ModelProto:
    """The model quantized by layer and channel, calibrated on its own input.

    ONNX Runtime's operators on uint8 x int8 saturate without VNNI: their weights have 7 bits.
    """
    quantization = pytest.importorskip("onnxruntime.quantization")
    feeds = feeds_of(name)
    options: dict[str, Any] = {
        "quant_format": quantization.QuantFormat[form],
        "activation_type": quantization.QuantType["QInt8" if is_symmetric else "QUInt8"],
        "weight_type": quantization.QuantType.QInt8,
        "per_channel": not is_symmetric,
        "reduce_range": form == "QOperator" and not is_symmetric,
    }
    model = onnx.load(models.build(name))
    return quantized_models.quantize_static(model, lambda _: feeds, **options)


def peer(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """ONNX Runtime's answer, every node as it is written."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in model.graph.output]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_symmetric", [False, True], ids=["u8s8_by_channel", "s8s8"])
@pytest.mark.parametrize("name", CASES)
def test_every_layer_is_within_a_step(name: str, form: str, is_symmetric: bool) -> None:
    model = quantized(name, form, is_symmetric)
    feeds = feeds_of(name)
    wanted = peer(quantized_models.with_integer_outputs(model), feeds)
    integers = quantized_models.integer_values(model)
    assert len(integers) > 50
    shapes = {value: wanted[value].shape for value in integers}
    cut = quantized_models.cut_at_integers(model, shapes)
    given = {f"{value}/given": wanted[value] for value in integers}
    engine = colonnade.compile(cut, threads=2, fallback="forbid", tune="off")
    answers = engine.run({**feeds, **given})
    for value in integers:
        difference = answers[value].astype(np.int32) - wanted[value].astype(np.int32)
        assert np.abs(difference).max() <= 1, value


@pytest.mark.parametrize("name", CASES)
def test_threads_do_not_change_a_bit(name: str) -> None:
    model, feeds = quantized(name, "QDQ", False), feeds_of(name)
    one, two = (
        colonnade.compile(model, threads=n, fallback="forbid", tune="off").run(feeds)
        for n in (1, 2)
    )
    for value, answer in one.items():
        np.testing.assert_array_equal(two[value], answer)
