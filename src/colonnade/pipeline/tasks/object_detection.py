"""Object detection: an image to boxes, from outputs as YOLO or as DETR models have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from colonnade.errors import InputError
from colonnade.pipeline.boxes import from_centers, suppress
from colonnade.pipeline.classes import class_names, sigmoid, softmax
from colonnade.pipeline.images import Fitted, letterbox, read_image, spec_of, to_row
from colonnade.pipeline.results import Box
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Batching, Row, Work
from colonnade.pipeline.task import Prepared
from colonnade.quantization.data.images import ImageSpec

Head = Literal["auto", "yolov5", "yolov8", "yolov10", "detr", "rt_detr"]
CANDIDATES_MAX = 30_000
"""Boxes that suppression looks at, the surest."""
YOLO_SIDE = 640
YOLO_GREY = 114
DETR_SPEC = ImageSpec(size=(800, 800), resize="stretch", crop_share=1.0)
SIGMOID_KINDS = (
    "rt_detr",
    "rt_detr_v2",
    "deformable_detr",
    "conditional_detr",
    "dab-detr",
    "d_fine",
)


@dataclass(frozen=True)
class Options:
    """How boxes are read and chosen."""

    head: Head = "auto"
    """How the outputs are meant. yolov5: [boxes, 5 + classes], with a score for "object"; yolov8:
    [4 + classes, boxes]; yolov10: [boxes, 6], suppressed already; detr: logits with a last class
    for "nothing" and pred_boxes in shares of the image; rt_detr: the same, each class by itself."""
    conf_thres: float = 0.25
    """Score below which a box is left out."""
    iou_thres: float = 0.45
    """Overlap above which the less sure of two boxes of a class is left out (YOLO)."""
    max_boxes: int = 300
    class_names: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None
    """Height and width of the model's input; None: the model's own, else 640 x 640 for YOLO."""
    image: ImageSpec | None = None
    """How images become arrays (DETR); None: preprocessor_config.json, or ImageNet's values."""


@dataclass(frozen=True)
class Found:
    """Candidates: boxes [count, 4] in pixels of the image, and scores [count, classes]."""

    boxes: np.ndarray
    scores: np.ndarray


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """A path, the bytes of a file, a Pillow image or an array."""
    head = _head(model) if options.head == "auto" else options.head
    return (_build_detr if "detr" in head else _build_yolo)(
        model, replace(options, head=head), sizes
    )


def _build_yolo(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    name = model.inputs[0]
    output = model.output("output0", "output")
    size = _yolo_size(model, options)
    spec = ImageSpec(size=size, resize="stretch", mean=(0.0,), std=(1.0,))

    def prepare(item: object) -> Work[list[Box]]:
        image = read_image(item)
        fitted = letterbox(image, size, YOLO_GREY)

        def finish(rows: Sequence[Row]) -> list[Box]:
            found = read_yolo(rows[0][output], options)
            return _chosen(model, options, _unfitted(found, fitted), (image.height, image.width))

        return Work([{name: to_row(fitted.image, spec)}], finish)

    return Prepared(prepare, Batching(sizes))


def _build_detr(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    name = next(n for n in model.inputs if "mask" not in n)
    masks = [n for n in model.inputs if "mask" in n]
    logits, boxes = model.output("logits"), model.output("pred_boxes")
    spec = spec_of(model, options.image, DETR_SPEC)
    if options.image_size is not None:
        spec = replace(spec, size=options.image_size)
    spec = replace(spec, resize="stretch")

    def prepare(item: object) -> Work[list[Box]]:
        image = read_image(item)
        scale = np.array([image.width, image.height] * 2, np.float64)

        def finish(rows: Sequence[Row]) -> list[Box]:
            scores = read_detr(rows[0][logits], options.head)
            found = Found(from_centers(rows[0][boxes].astype(np.float64)) * scale, scores)
            return _chosen(model, options, found, (image.height, image.width))

        row = {name: to_row(image, spec)}
        row.update({mask: np.ones(spec.size, model.dtype(mask)) for mask in masks})
        return Work([row], finish)

    return Prepared(prepare, Batching(sizes))


def read_yolo(made: np.ndarray, options: Options) -> Found:
    """Candidates of one image, in pixels of the model's input."""
    if made.ndim != 2:
        raise InputError(
            f"the model's output has {made.ndim} axes for each image, expected 2: export it with "
            "boxes decoded"
        )
    values = made.astype(np.float64)
    if options.head == "yolov8":
        return Found(from_centers(values[:4].T), values[4:].T)
    if options.head == "yolov5":
        return Found(from_centers(values[:, :4]), values[:, 5:] * values[:, 4:5])
    classes = values[:, 5].astype(int)
    count = max(int(classes.max(initial=0)) + 1, len(options.class_names or ()))
    scores = np.zeros((len(values), count))
    scores[np.arange(len(values)), classes] = values[:, 4]
    return Found(values[:, :4], scores)


def read_detr(logits: np.ndarray, head: Head) -> np.ndarray:
    """Scores by class; the last class of a softmax means "nothing" and is left out."""
    return sigmoid(logits) if head == "rt_detr" else softmax(logits)[:, :-1]


def choose_boxes(found: Found, options: Options) -> list[tuple[int, int]]:
    """Which candidates stay, with the class of each, surest first."""
    if options.head == "rt_detr":  # A query may stand for several classes.
        flat = np.argsort(-found.scores, axis=None, kind="stable")[: options.max_boxes]
        pairs = [divmod(int(place), found.scores.shape[1]) for place in flat]
        return [pair for pair in pairs if found.scores[pair] > options.conf_thres]
    classes = found.scores.argmax(-1)
    scores = found.scores.max(-1)
    sure = np.nonzero(scores > options.conf_thres)[0]
    sure = sure[np.argsort(-scores[sure], kind="stable")][:CANDIDATES_MAX]
    if options.head in ("detr", "yolov10"):
        return [(int(i), int(classes[i])) for i in sure[: options.max_boxes]]
    kept = suppress(
        found.boxes[sure], scores[sure], classes[sure], options.iou_thres, options.max_boxes
    )
    return [(int(sure[i]), int(classes[sure[i]])) for i in kept]


def _chosen(model: Model, options: Options, found: Found, size: tuple[int, int]) -> list[Box]:
    names = class_names(model, options.class_names, found.scores.shape[-1])
    height, width = size
    made = []
    for place, label in choose_boxes(found, options):
        left, top, right, bottom = np.clip(found.boxes[place], 0, (width, height, width, height))
        score = float(found.scores[place, label])
        made.append(Box(names[label], score, float(left), float(top), float(right), float(bottom)))
    return made


def _unfitted(found: Found, fitted: Fitted) -> Found:
    offset = np.array([fitted.left, fitted.top] * 2)
    return replace(found, boxes=(found.boxes - offset) / fitted.ratio)


def _yolo_size(model: Model, options: Options) -> tuple[int, int]:
    fixed = (model.fixed(2), model.fixed(3))
    own = (fixed[0], fixed[1]) if fixed[0] and fixed[1] else None
    if own and options.image_size not in (None, own):
        raise InputError(f"image_size={options.image_size}; the model takes {own} only")
    return own or options.image_size or (YOLO_SIDE, YOLO_SIDE)


def _head(model: Model) -> Head:
    """By the names of the outputs, and the shape of the first."""
    names = [info.name for info in model.engine.outputs]
    if "pred_boxes" in names:
        return "rt_detr" if model.config.get("model_type") in SIGMOID_KINDS else "detr"
    shape = model.engine.outputs[0].shape or ()
    rows, values = (shape[-2], shape[-1]) if len(shape) == 3 else (None, None)
    if not isinstance(values, int) and not isinstance(rows, int):
        raise InputError(
            f"outputs {names} {list(shape)} do not say how boxes are written; give head="
        )
    if values == 6:
        return "yolov10"
    is_wide = isinstance(values, int) and isinstance(rows, int) and values > rows
    return "yolov8" if is_wide or not isinstance(values, int) else "yolov5"
