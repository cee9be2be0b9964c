"""Text detection: an image to the lines of text in it, from the score map of a DB network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.errors import InputError
from colonnade.pipeline.images import read_image, to_row
from colonnade.pipeline.regions import Rectangle, find_regions, smallest_rectangle
from colonnade.pipeline.results import TextBox
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Batching, Row, Work
from colonnade.pipeline.task import Prepared
from colonnade.quantization.data.images import ImageSpec

PIXELS_MIN = 10
"""Regions with fewer are specks."""
BGR = ImageSpec(channels="BGR")
SAME_LINE = 0.5
"""Boxes whose tops differ by less than this share of a height are read from left to right."""


@dataclass(frozen=True)
class Options:
    """How lines are found in the score map."""

    threshold: float = 0.3
    """Score above which a pixel belongs to text."""
    box_threshold: float = 0.5
    """Mean score below which a line is left out."""
    unclip_ratio: float = 1.6
    """The network marks the inside of lines: by how much they grow, area times this by outline."""
    side_step: int = 320
    """Sides of the image are padded to a multiple: few sizes mean few plans."""
    side_max: int = 960
    """A larger image is scaled down; one whose longer side is below half of it is scaled up."""
    boxes_max: int = 1000
    image: ImageSpec = BGR
    """Scale, mean, std, channels and layout; its size does not count."""


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """A path, the bytes of a file, a Pillow image or an array."""
    if options.side_step < 32 or options.side_step % 32 or options.side_max < options.side_step:
        raise InputError(
            f"side_step={options.side_step}, side_max={options.side_max}; expected a multiple of "
            "32, and a maximum that is not below it"
        )
    name, output = model.inputs[0], model.output()

    def prepare(item: object) -> Work[list[TextBox]]:
        image = read_image(item)
        ratio = _ratio(image.width, image.height, options)
        small = (max(round(image.width * ratio), 1), max(round(image.height * ratio), 1))
        canvas = image.resize(small)
        step = options.side_step
        canvas = canvas.crop((0, 0, -(-small[0] // step) * step, -(-small[1] // step) * step))
        spec = ImageSpec(
            size=(canvas.height, canvas.width), resize="stretch", scale=options.image.scale,
            mean=options.image.mean, std=options.image.std, layout=options.image.layout,
            channels=options.image.channels,
        )  # fmt: skip

        def finish(rows: Sequence[Row]) -> list[TextBox]:
            scores = rows[0][output].reshape(canvas.height, canvas.width)
            found = find_lines(scores[: small[1], : small[0]], options)
            bounds = np.array([image.width, image.height])
            return [_text_box(box, score, ratio, bounds) for box, score in reading_order(found)]

        return Work([{name: to_row(canvas, spec)}], finish)

    return Prepared(prepare, Batching(sizes))


def find_lines(scores: np.ndarray, options: Options) -> list[tuple[Rectangle, float]]:
    """Rectangles around lines in a map of scores [height, width], with the mean score inside."""
    found = []
    for pixels in find_regions(scores > options.threshold):
        if len(pixels) < PIXELS_MIN:
            continue
        score = float(scores[pixels[:, 1], pixels[:, 0]].mean())
        if score >= options.box_threshold:
            inner = smallest_rectangle(pixels).grown(0.5)
            outline = 2 * (inner.width + inner.height)
            distance = inner.width * inner.height * options.unclip_ratio / outline
            found.append((inner.grown(distance), score))
    return sorted(found, key=lambda line: -line[1])[: options.boxes_max]


def reading_order(lines: Sequence[tuple[Rectangle, float]]) -> list[tuple[Rectangle, float]]:
    """From top to bottom, and from left to right within a row."""
    waiting = sorted(lines, key=lambda line: float(line[0].corners[:, 1].min()))
    ordered: list[tuple[Rectangle, float]] = []
    while waiting:
        first = waiting[0][0].corners[:, 1]
        limit = float(first.min() + SAME_LINE * (first.max() - first.min()))
        row = [line for line in waiting if line[0].corners[:, 1].min() < limit] or waiting[:1]
        ordered += sorted(row, key=lambda line: float(line[0].corners[:, 0].min()))
        waiting = waiting[len(row) :]
    return ordered


def _text_box(box: Rectangle, score: float, ratio: float, bounds: np.ndarray) -> TextBox:
    corners = np.clip((box.corners + 0.5) / ratio, 0, bounds)
    a, b, c, d = ((float(x), float(y)) for x, y in corners)
    return TextBox((a, b, c, d), score)


def _ratio(width: int, height: int, options: Options) -> float:
    longer = max(width, height)
    if longer > options.side_max:
        return options.side_max / longer
    return max(1.0, options.side_max / 2 / longer)
