"""Image tasks on answers made by hand, and what images may be."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import colonnade
from colonnade.errors import InputError
from colonnade.pipeline import images
from colonnade.pipeline.boxes import from_centers, overlap, suppress
from colonnade.pipeline.images import read_image, spec_of
from colonnade.pipeline.regions import find_regions, smallest_rectangle
from colonnade.pipeline.source import Model
from colonnade.pipeline.tasks import text_detection, text_recognition
from colonnade.quantization.data.images import ImageSpec
from constant_model import write_constant_model

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)


def encoded(array: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def test_classification_and_what_an_image_is(tmp_path: Path) -> None:
    model = write_constant_model(
        tmp_path / "model.onnx", {"x": ("batch", 3, 8, 8)}, {"logits": np.array([0.0, 3.0, 1.0])}
    )
    classify = colonnade.pipeline(
        "image-classification", model, class_names=["a", "b", "c"], top_k=2, threads=1
    )
    (tmp_path / "image.png").write_bytes(encoded(PIXELS))
    found = classify([PIXELS, Image.fromarray(PIXELS), encoded(PIXELS), tmp_path / "image.png"])
    assert [label.label for label in found[0]] == ["b", "c"]
    assert found[0][0].score == pytest.approx(np.exp(3) / (1 + np.exp(3) + np.exp(1)))
    assert found[1:] == found[:1] * 3


@pytest.mark.parametrize("head", ["yolov5", "yolov8", "yolov10", "auto"])
def test_yolo(tmp_path: Path, head: str) -> None:
    """Two objects, one of them found twice, in an image of 80 x 60 on a canvas of 64 x 64."""
    ratio, top = 64 / 80, (64 - 48) // 2
    corners = np.array([[10, 10, 30, 30], [11, 10, 31, 30], [40, 20, 70, 50.0]])
    on_canvas = corners * ratio + (0, top, 0, top)
    centers = np.concatenate(
        [(on_canvas[:, :2] + on_canvas[:, 2:]) / 2, on_canvas[:, 2:] - on_canvas[:, :2]], -1
    )
    scores = np.array([[0.9, 0.0], [0.8, 0.1], [0.1, 0.7]])
    written = {
        "yolov5": np.concatenate([centers, np.ones((3, 1)), scores], -1),
        "yolov8": np.concatenate([centers, scores], -1).T,
        "yolov10": np.concatenate([on_canvas[[0, 2]], [[0.9], [0.7]], [[0], [1]]], -1),
    }
    written["auto"] = np.concatenate([written["yolov5"]] * 9)  # more boxes than values: v5
    model = write_constant_model(
        tmp_path / "model.onnx", {"images": ("batch", 3, 64, 64)}, {"output0": written[head]}
    )
    detect = colonnade.pipeline("yolo", model, head=head, class_names=["cat", "dog"], threads=1)
    found = detect(PIXELS)
    assert [(box.label, pytest.approx(box.score)) for box in found] == [("cat", 0.9), ("dog", 0.7)]
    boxes = [(box.left, box.top, box.right, box.bottom) for box in found]
    np.testing.assert_allclose(boxes, corners[[0, 2]], atol=1e-3)
    (only,) = detect.batch([encoded(PIXELS)])
    assert only == found


@pytest.mark.parametrize("kind", ["detr", "rt_detr"])
def test_detr(tmp_path: Path, kind: str) -> None:
    logits = {
        "detr": np.array([[4.0, 0, 0], [0, 0, 4], [0, 4, 0]]),  # the last class is "nothing"
        "rt_detr": np.array([[3.0, -9], [-9, -9], [-9, 3]]),
    }[kind]
    centers = np.array([[0.25, 0.5, 0.5, 1], [0.5, 0.5, 1, 1], [0.75, 0.25, 0.5, 0.5]])
    folder = tmp_path
    model = {"pixel_values": ("batch", 3, 32, 32)}
    write_constant_model(folder / "model.onnx", model, {"logits": logits, "pred_boxes": centers})
    names = {"id2label": {"0": "cat", "1": "dog"}, "model_type": kind}
    (folder / "config.json").write_text(json.dumps(names))
    found = colonnade.pipeline("object_detection", folder, conf_thres=0.5, threads=1)(PIXELS)
    boxes = {box.label: (box.left, box.top, box.right, box.bottom) for box in found}
    assert list(boxes) == ["cat", "dog"]
    np.testing.assert_allclose(boxes["cat"], (0, 0, 40, 60), atol=1e-4)
    np.testing.assert_allclose(boxes["dog"], (40, 0, 80, 30), atol=1e-4)


def test_suppression_against_a_plain_loop() -> None:
    boxes = from_centers(RNG.uniform(0, 1, (60, 4)) * (100, 100, 40, 40))
    scores, classes = RNG.uniform(0, 1, 60), RNG.integers(0, 3, 60)
    kept: list[int] = []
    for i in sorted(range(60), key=lambda i: -scores[i]):
        same = [j for j in kept if classes[j] == classes[i]]
        if all(_iou(boxes[i], boxes[j]) <= 0.4 for j in same):
            kept.append(i)
    assert suppress(boxes, scores, classes, 0.4, 99) == kept
    assert suppress(boxes, scores, classes, 0.4, 5) == kept[:5]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    area = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    assert overlap(a, b[None])[0] == pytest.approx(shared / (area - shared))
    return float(shared / (area - shared))


def test_regions_against_a_flood_fill() -> None:
    mask = RNG.uniform(size=(40, 50)) < 0.35
    found = {frozenset(map(tuple, region.tolist())) for region in find_regions(mask)}
    left = {(x, y) for y, x in np.argwhere(mask).tolist()}
    expected = set()
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            x, y = edge.pop()
            region.add((x, y))
            near = {(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        expected.add(frozenset(region))
    assert found == expected
    assert find_regions(np.zeros((3, 3), bool)) == []


@pytest.mark.parametrize("degrees", [0, 20, -35])
def test_the_smallest_rectangle(degrees: float) -> None:
    turn = np.radians(degrees)
    across, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    inside = RNG.uniform(0, 1, (500, 2)) * (90, 20)
    points = np.concatenate([inside, [[0, 0], [90, 0], [90, 20], [0, 20]]])
    found = smallest_rectangle(points[:, :1] * across + points[:, 1:] * down + 100)
    assert (found.width, found.height) == pytest.approx((90, 20), abs=1e-6)
    expected = np.array([0 * across, 90 * across, 90 * across + 20 * down, 20 * down]) + 100
    np.testing.assert_allclose(found.corners, expected, atol=1e-6)
    grown = found.grown(2)
    assert (grown.width, grown.height) == pytest.approx((94, 24))
    np.testing.assert_allclose(grown.corners[0], expected[0] - 2 * across - 2 * down, atol=1e-6)
    assert smallest_rectangle(np.array([[3, 4]])).width == 0


def test_lines_in_a_score_map() -> None:
    scores = np.zeros((100, 200), np.float32)
    scores[10:20, 110:180] = 0.9  # right of the first row
    scores[12:22, 10:90] = 0.8
    scores[50:60, 10:90] = 0.4  # too weak
    scores[80:82, 10:13] = 0.9  # a speck
    lines = text_detection.reading_order(
        text_detection.find_lines(scores, text_detection.Options())
    )
    assert [score for _, score in lines] == pytest.approx([0.8, 0.9])
    box = lines[0][0].corners
    distance = 80 * 10 * 1.6 / (2 * (80 + 10))
    np.testing.assert_allclose(box.min(0), np.array([9.5, 11.5]) - distance, atol=0.01)
    np.testing.assert_allclose(box.max(0), np.array([89.5, 21.5]) + distance, atol=0.01)


def test_ctc() -> None:
    path = [1, 1, 0, 1, 2, 2, 0, 0, 3]
    scores = np.eye(4)[path] * 0.9 + 0.025
    found = text_recognition.decode(scores, "abc")
    assert found.text == "aabc"
    assert found.score == pytest.approx(0.925)
    assert text_recognition.decode(np.log(scores), "abc").text == "aabc"
    assert text_recognition.decode(np.eye(4)[[0, 0]], "abc") == text_recognition.Text("", 0.0)
    with pytest.raises(InputError, match="2 characters for 3 classes"):
        text_recognition.decode(scores, "ab")


def test_orientation_and_format() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = read_image(encoded(PIXELS, "JPEG", exif=exif))
    assert turned.size == (60, 80)
    assert read_image(encoded(PIXELS[..., 0])).mode == "RGB"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (7, "expected an image, got int"),
        (b"", "not an image of JPEG"),
        (b"GIF89a", "not"),
        (encoded(PIXELS)[:200], "not a readable image"),
        ("/nowhere/image.png", "not a readable image"),
        (PIXELS.astype(np.float32), "an image array is uint8"),
        (PIXELS[:0], "an image array is uint8"),
        (PIXELS[..., :2], "an image array is uint8"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image of"),
    ],
)
def test_bad_images(item: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_image(item)
    assert message in str(error.value)


@pytest.mark.parametrize("side", [8001, 20_000])
def test_a_small_file_of_many_pixels(side: int) -> None:
    """Black, so a few kilobytes; refused by its header, before there is memory for its pixels."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    assert len(file.getvalue()) < 100_000
    with pytest.raises(InputError, match=r"pixels|limit"):
        read_image(file.getvalue())


def test_the_configuration_of_an_image_processor(tmp_path: Path) -> None:
    write_constant_model(tmp_path / "model.onnx", {"x": ("batch", 3, "h", "w")}, {"y": np.zeros(2)})
    engine = colonnade.compile(tmp_path / "model.onnx", threads=1)

    def spec(config: dict[str, object]) -> ImageSpec:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
        return spec_of(Model(engine, tmp_path, {}), None, ImageSpec())

    usual = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 3}
    size = {"size": {"shortest_edge": 256}, "crop_size": 224}
    cropped = spec({**usual, **size, "do_center_crop": True})
    assert cropped == ImageSpec(
        (224, 224), "crop", 0.875, "bicubic", 1 / 255, (0.5,) * 3, (0.25,) * 3
    )
    stretched = spec({"size": {"height": 30, "width": 40}, "do_normalize": False})
    assert stretched == ImageSpec((30, 40), "stretch", 1.0, mean=(0.0,), std=(1.0,))
    (tmp_path / "image_spec.yaml").write_text("size: [16, 20]\nchannels: BGR\n")
    assert spec(usual) == ImageSpec((16, 20), channels="BGR")
    assert images.PIXELS_MAX == 64_000_000
