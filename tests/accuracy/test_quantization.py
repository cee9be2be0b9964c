"""Trained models quantized by colonnade: against float32 and against ONNX Runtime's quantization.

Every 8-bit file runs on our engine: ONNX Runtime's own kernels saturate on CPUs without VNNI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest

import colonnade
import models
import quantized_models
from models import packages
from models.samples import sentences

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(1800)]

CASES = {"resnet50": None, "efficientnet_lite0": None, "minilm_l6": 128}
BATCH = 4
SLACK_DB = 1.0
"""Both make the same products from the same ranges; where borders stand differs by a few roundings."""


@cache
def feeds_of(name: str) -> dict[str, np.ndarray]:
    """Real inputs; skips, naming the package, when the model cannot be had."""
    try:
        return dict(models.inputs(name, BATCH, CASES[name]))
    except (models.PackageUnavailableError, models.LibraryMissingError) as error:
        pytest.skip(str(error))


def by_onnx_runtime(name: str, feeds: Sequence[dict[str, np.ndarray]]) -> onnx.ModelProto:
    """Its static quantization; of text models, the products only, as its own tools do."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    options: dict[str, Any] = {} if CASES[name] is None else {
        "op_types_to_quantize": ["MatMul", "Gemm"]
    }  # fmt: skip
    return quantized_models.quantize_static(
        onnx.load(models.build(name)), lambda i: feeds[i % len(feeds)],
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        per_channel=True, **options,
    )  # fmt: skip


def sqnr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    error = wanted.astype(np.float64) - found
    return float(10 * np.log10(np.sum(wanted.astype(np.float64) ** 2) / np.sum(error**2)))


@pytest.mark.parametrize("name", CASES)
def test_no_noisier_than_onnx_runtimes_quantization(name: str) -> None:
    feeds = feeds_of(name)
    made = colonnade.quantize(models.build(name), [feeds], threads=2)
    products = [layer for layer in made.report.layers if layer.bytes_before]
    assert all(layer.precision == "8-bit" for layer in products)
    assert all(layer.kernel.startswith("q") for layer in products)
    theirs = colonnade.compile(by_onnx_runtime(name, [feeds]), threads=2, tune="off").run(feeds)
    wanted = colonnade.compile(models.build(name), threads=2, tune="off").run(feeds)
    for output in made.report.outputs:
        peer = sqnr_db(wanted[output.name], theirs[output.name])
        assert output.sqnr_db >= peer - SLACK_DB, (output.name, output.sqnr_db, peer)


TRAINED, TESTED, ROWS, LENGTH = 400, 500, 25, 64
RIDGE = 0.1


@cache
def documents() -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    """BBC News in batches of tokens, in a seeded order, and the number of each one's topic."""
    files = sentences._documents()
    order = np.random.default_rng(0).permutation(len(files))[: TRAINED + TESTED]
    topics = [re.search(r"data/(\w+)/", files[i])[1] for i in order]
    numbers = {topic: number for number, topic in enumerate(sorted(set(topics)))}
    batches = [tokens([files[i] for i in part]) for part in np.split(order, len(order) // ROWS)]
    return batches, np.array([numbers[topic] for topic in topics])


def tokens(files: Sequence[str]) -> dict[str, np.ndarray]:
    ids = np.zeros((len(files), LENGTH), np.int64)
    mask = np.zeros_like(ids)
    for row, file in enumerate(files):
        text = packages.read(sentences.PACKAGE, file).decode("utf-8", errors="replace")
        found = sentences._tokenizer().encode(text).ids[:LENGTH]
        ids[row, : len(found)], mask[row, : len(found)] = found, 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def embeddings(
    run: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    batches: Sequence[dict[str, np.ndarray]],
) -> np.ndarray:
    """Means over tokens, of length 1, and a 1 behind each."""
    made = []
    for batch in batches:
        mask = batch["attention_mask"][..., None]
        mean = (run(batch)["last_hidden_state"] * mask).sum(axis=1) / mask.sum(axis=1)
        made.append(mean / np.linalg.norm(mean, axis=1, keepdims=True))
    found = np.concatenate(made)
    return np.concatenate([found, np.ones((len(found), 1))], axis=1)


def test_topics_are_found_as_well_as_by_onnx_runtimes_quantization() -> None:
    """A linear head on float32 embeddings; then the embeddings come from 8 bits."""
    feeds_of("minilm_l6")
    batches, topics = documents()
    split = TRAINED // ROWS
    exact = colonnade.compile(models.build("minilm_l6"), threads=2, tune="off")
    x = embeddings(exact.run, batches[:split])
    wanted = np.eye(topics.max() + 1)[topics[:TRAINED]]
    head = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ wanted)

    def accuracy(engine: colonnade.Engine) -> float:
        scores = embeddings(engine.run, batches[split:]) @ head
        return 100 * float(np.mean(scores.argmax(axis=1) == topics[TRAINED:]))

    calibration = batches[:4]
    made = colonnade.quantize(models.build("minilm_l6"), calibration, threads=2)
    ours, theirs = (
        accuracy(colonnade.compile(model, threads=2, tune="off"))
        for model in (made.to_bytes(), by_onnx_runtime("minilm_l6", calibration))
    )
    print(f"float32 {accuracy(exact):.1f}, colonnade {ours:.1f}, ONNX Runtime's {theirs:.1f}")
    assert ours >= min(theirs, accuracy(exact)) - 0.2


RECURRENT = {"crnn_english_g2": (4, None), "silero_vad": (1, 64)}
RECURRENT_COST_DB = 3.0
"""What 8-bit recurrent layers may cost beside the rest in 8 bits: as much noise again as that makes."""


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_make_no_more_noise_than_the_rest(name: str) -> None:
    try:
        path, feeds = models.build(name), dict(models.inputs(name, *RECURRENT[name]))
    except (models.PackageUnavailableError, models.LibraryMissingError) as error:
        pytest.skip(str(error))
    made = colonnade.quantize(path, [feeds], threads=2)
    layers = [layer for layer in made.report.layers if layer.op == "LSTM"]
    assert layers
    assert {(layer.precision, layer.kernel) for layer in layers} == {("8-bit", "qrecurrent")}
    without = colonnade.quantize(path, [feeds], ops=["Conv", "Gemm", "MatMul", "Add"], threads=2)
    for found, rest in zip(made.report.outputs, without.report.outputs, strict=True):
        assert found.sqnr_db >= rest.sqnr_db - RECURRENT_COST_DB, (found, rest)
