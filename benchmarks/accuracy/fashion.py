"""Fashion-MNIST as tensors, and batches of it in a fixed order."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.debian import debian_files

FOLDER = "usr/share/datasets/fashion-mnist"
MEAN, DEVIATION = 0.2860, 0.3530
HEADER_BYTES = {"images": 16, "labels": 8}
SIDE = 28


@dataclass(frozen=True)
class Split:
    """Images [count, 1, 28, 28], normalised, with their classes."""

    images: Tensor
    labels: Tensor

    def first(self, count: int) -> Split:
        """The first `count` images: the set is shuffled as it comes."""
        return Split(self.images[:count], self.labels[:count])


def load() -> tuple[Split, Split]:
    """60,000 images to train with and 10,000 to test with."""
    folder = debian_files("dataset-fashion-mnist") / FOLDER
    return _split(folder, "train"), _split(folder, "t10k")


def batches(split: Split, size: int, epochs: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole batches of shuffled epochs; what is left over of an epoch is dropped."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(split.labels), generator=generator)
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield split.images[chosen], split.labels[chosen]


def accuracy(model: nn.Module, split: Split, size: int = 1000) -> float:
    """The share of images whose class is found."""
    was_training = model.training
    model.eval()
    found = 0
    with torch.no_grad():
        for start in range(0, len(split.labels), size):
            predicted = model(split.images[start : start + size]).argmax(1)
            found += int((predicted == split.labels[start : start + size]).sum())
    model.train(was_training)
    return found / len(split.labels)


def _split(folder: Path, name: str) -> Split:
    pixels = _read(folder / f"{name}-images-idx3-ubyte.gz", HEADER_BYTES["images"])
    labels = _read(folder / f"{name}-labels-idx1-ubyte.gz", HEADER_BYTES["labels"])
    images = torch.from_numpy(pixels.reshape(-1, 1, SIDE, SIDE)).float().div_(255)
    return Split(images.sub_(MEAN).div_(DEVIATION), torch.from_numpy(labels).long())


def _read(path: Path, header_bytes: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header_bytes).copy()
