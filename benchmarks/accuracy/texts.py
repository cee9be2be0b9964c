"""Labelled texts as token tensors: topics of BBC News, and what people thought of film snippets.

Train and test examples are split by a fixed order; whoever tunes looks at the first only.
"""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models import packages
from models.builders import minilm_files
from models.requirements import require
from models.samples import sentences

VADER = "vaderSentiment"
SNIPPETS = "movieReviewSnippets_GroundTruth.txt"
RATED = 0.5
"""A snippet whose mean rating is nearer to 0 has no label."""


@dataclass(frozen=True)
class Texts:
    """Rows of tokens [count, length], with their mask and their classes."""

    ids: Tensor
    mask: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, chosen: Tensor | slice) -> dict[str, Tensor]:
        """As keyword arguments of a classifier, without the padding that all have."""
        mask = self.mask[chosen]
        length = int(mask.sum(1).max())
        return {
            "input_ids": self.ids[chosen][:, :length],
            "attention_mask": mask[:, :length],
            "labels": self.labels[chosen],
        }


@dataclass(frozen=True)
class Task:
    """Where texts come from, and how they are cut."""

    name: str
    read: Callable[[], list[tuple[str, int]]]
    classes: int
    length: int
    train: int
    test: int

    def load(self) -> tuple[Texts, Texts]:
        """Train and test examples."""
        examples = self.read()
        random.Random(0).shuffle(examples)
        train, test = examples[self.test :][: self.train], examples[: self.test]
        return _encode(train, self.length), _encode(test, self.length)


def batches(texts: Texts, size: int, epochs: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Whole batches of shuffled epochs, each of texts of much the same length."""
    generator = torch.Generator().manual_seed(seed)
    lengths = texts.mask.sum(1).float()
    for _ in range(epochs):
        noise = 4 * torch.rand(len(texts), generator=generator)
        order = (lengths + noise).argsort()
        starts = torch.arange(0, len(texts) - size + 1, size)
        for start in starts[torch.randperm(len(starts), generator=generator)].tolist():
            yield texts.rows(order[start : start + size])


def _read_bbc() -> list[tuple[str, int]]:
    files = packages.members(sentences.PACKAGE, sentences.PATTERN)
    topics = sorted({file.split("/")[-2] for file in files})
    return [
        (
            packages.read(sentences.PACKAGE, file).decode("utf-8", errors="replace"),
            topics.index(file.split("/")[-2]),
        )
        for file in files
    ]


def _read_vader() -> list[tuple[str, int]]:
    inner = packages.read(VADER, "additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        member = next(one for one in archive.getmembers() if one.name.endswith(SNIPPETS))
        file = archive.extractfile(member)
        assert file is not None, SNIPPETS
        lines = file.read().decode("latin-1").splitlines()
    found = []
    for line in lines:
        _, rating, text = line.split("\t", 2)
        if abs(float(rating)) > RATED:
            found.append((text, int(float(rating) > 0)))
    return found


def _encode(examples: Sequence[tuple[str, int]], length: int) -> Texts:
    tokenizers = require("tokenizers", "tokenising texts")
    file = packages.read(minilm_files.PACKAGE, minilm_files.FOLDER + "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_str(file.decode("utf-8"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    encoded = tokenizer.encode_batch([text for text, _ in examples])
    return Texts(
        torch.from_numpy(np.array([one.ids for one in encoded], np.int64)),
        torch.from_numpy(np.array([one.attention_mask for one in encoded], np.int64)),
        torch.tensor([label for _, label in examples]),
    )


TASKS = {
    "bbc": Task("bbc", _read_bbc, classes=5, length=32, train=1725, test=500),
    "vader": Task("vader", _read_vader, classes=2, length=32, train=4000, test=2000),
}
