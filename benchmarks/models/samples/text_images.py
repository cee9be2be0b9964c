"""Rendered text, whose label is known: single lines and whole pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.requirements import require

TEXT = (
    "The quick brown fox jumps over a lazy dog while 37 quiet engines count every zero in 8 bits "
    "Sparse models run in columns and nobody waits for the answer Please mind the gap between "
    "memory and arithmetic Invoice 2046 was paid on Friday at 10:45 Winter light falls on the "
    "old harbour wall"
)
FONT_PIXELS = 40
MARGIN = 8
INK = (0, 80)
PAPER = (180, 255)
PAGE_FONT_PIXELS = 28
PAGE_LINE_PIXELS = 64
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Line:
    """A grey image [height, width] in 0..255 and the text it shows."""

    image: np.ndarray
    text: str


@dataclass(frozen=True)
class Page:
    """A grey image [side, side] and the boxes (left, top, right, bottom) of its lines."""

    image: np.ndarray
    boxes: tuple[Box, ...]


def line(index: int, height: int, width: int) -> Line:
    """As many words as fit; the rest of the width is paper."""
    rng = np.random.default_rng(index)
    ink, paper = int(rng.integers(*INK)), int(rng.integers(*PAPER))
    font = _font(FONT_PIXELS)
    full_height = FONT_PIXELS + 2 * MARGIN
    full_width = width * full_height // height
    words = _fitting_words(index, full_width - 2 * MARGIN, font)
    image, draw = _canvas(full_width, full_height, paper)
    draw.text((MARGIN, full_height // 2), words, fill=ink, font=font, anchor="lm")
    resampling = require("PIL.Image", "rendering text").Resampling.BICUBIC
    small = image.resize((width, height), resampling)
    return Line(np.asarray(small, np.float32), words)


def page(index: int, side: int) -> Page:
    """A square page of text lines with known boxes."""
    rng = np.random.default_rng(1000 + index)
    ink, paper = int(rng.integers(*INK)), int(rng.integers(*PAPER))
    font = _font(PAGE_FONT_PIXELS)
    image, draw = _canvas(side, side, paper)
    boxes: list[Box] = []
    for row, top in enumerate(range(MARGIN, side - PAGE_LINE_PIXELS, PAGE_LINE_PIXELS)):
        left = int(rng.integers(MARGIN, side // 4))
        words = _fitting_words(index * 100 + row, side - left - MARGIN, font)
        draw.text((left, top), words, fill=ink, font=font)
        found = draw.textbbox((left, top), words, font=font)
        boxes.append((int(found[0]), int(found[1]), int(found[2]), int(found[3])))
    return Page(np.asarray(image, np.float32), tuple(boxes))


def crnn_inputs(batch: int, width: int) -> dict[str, np.ndarray]:
    """english_g2: one grey channel, height 64, -1..1."""
    grey = np.stack([line(i, 64, width).image[None] for i in range(batch)])
    return {"image": grey / np.float32(255) * 2 - 1}


def recogniser_inputs(batch: int, width: int) -> dict[str, np.ndarray]:
    """PP-OCR recogniser and angle classifier: three channels, height 48, -1..1."""
    grey = np.stack([line(i, 48, width).image[None] for i in range(batch)])
    return {"x": np.repeat(grey / np.float32(255) * 2 - 1, 3, axis=1)}


def detector_inputs(batch: int, side: int) -> dict[str, np.ndarray]:
    """PP-OCR detector: BGR scaled by the ImageNet mean and deviation."""
    grey = np.stack([page(i, side).image[None] for i in range(batch)]) / np.float32(255)
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return {"x": (np.repeat(grey, 3, axis=1) - mean) / std}


def _font(pixels: int) -> Any:
    """The outline font inside Pillow: the same everywhere, nothing to install."""
    return require("PIL.ImageFont", "rendering text").load_default(pixels)


def _canvas(width: int, height: int, paper: int) -> tuple[Any, Any]:
    image = require("PIL.Image", "rendering text").new("L", (width, height), paper)
    return image, require("PIL.ImageDraw", "rendering text").Draw(image)


def _fitting_words(index: int, width: int, font: Any) -> str:
    words = TEXT.split()
    start = index * 5 % len(words)
    shown = ""
    for word in words[start:] + words[:start]:
        longer = f"{shown} {word}".lstrip()
        if font.getlength(longer) > width:
            break
        shown = longer
    return shown
