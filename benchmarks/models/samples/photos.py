"""Labelled ImageNet photos, prepared for a network."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cache

import numpy as np

from models import packages
from models.requirements import require

PACKAGE = "foolbox"
PATTERN = r"foolbox/data/imagenet_(\d+)_(\d+)\.jpg$"
SIDE = 224
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Photo:
    """A photo and its ImageNet class index (0 to 999)."""

    file: str
    label: int


def photos() -> list[Photo]:
    """The 20 photos, in the order of their numbers."""
    found = []
    for file in packages.members(PACKAGE, PATTERN):
        match = re.search(PATTERN, file)
        assert match is not None
        found.append(Photo(file, int(match.group(2))))
    return found


@cache
def pixels(file: str, side: int = SIDE) -> np.ndarray:
    """One photo as [3, side, side] RGB, 0 to 255."""
    image_module = require("PIL.Image", "reading a photo")
    image = image_module.open(io.BytesIO(packages.read(PACKAGE, file))).convert("RGB")
    resized = image.resize((side, side), image_module.Resampling.BICUBIC)
    return np.asarray(resized, np.float32).transpose(2, 0, 1)


def efficientnet_inputs(batch: int, side: int) -> dict[str, np.ndarray]:
    """Scaled as EfficientNet-Lite was trained: (x - 127) / 128."""
    return {"input": (_stack(batch, side) - np.float32(127)) / np.float32(128)}


def resnet_inputs(batch: int, side: int) -> dict[str, np.ndarray]:
    """Scaled by the ImageNet mean and deviation."""
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return {"input": (_stack(batch, side) / np.float32(255) - mean) / std}


def _stack(batch: int, side: int) -> np.ndarray:
    found = photos()
    return np.stack([pixels(found[i % len(found)].file, side) for i in range(batch)])
