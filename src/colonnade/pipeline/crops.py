"""Parts of an image: what lies in a box, set upright."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from colonnade.pipeline.results import Box, Point, TextBox

if TYPE_CHECKING:
    from PIL.Image import Image

UPRIGHT = 1.5
"""A line of text this much higher than wide is turned by a quarter."""


def crop(image: Image, boxes: Sequence[Box | TextBox]) -> list[Image]:
    """The part of the image in each box."""
    return [
        _straightened(image, box.corners)
        if isinstance(box, TextBox)
        else image.crop((math.floor(box.left), math.floor(box.top), *_end(box)))
        for box in boxes
    ]


def _end(box: Box) -> tuple[int, int]:
    """At least a pixel in both directions."""
    left, top = math.floor(box.left), math.floor(box.top)
    return max(math.ceil(box.right), left + 1), max(math.ceil(box.bottom), top + 1)


def _straightened(image: Image, corners: tuple[Point, Point, Point, Point]) -> Image:
    from PIL import Image as Images

    a, b, c, d = corners
    width, height = max(round(math.dist(a, b)), 1), max(round(math.dist(a, d)), 1)
    quad = (*a, *d, *c, *b)
    part = image.transform((width, height), Images.Transform.QUAD, quad, Images.Resampling.BICUBIC)
    if height < UPRIGHT * width:
        return part
    return part.transpose(Images.Transpose.ROTATE_90)
