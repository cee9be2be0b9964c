"""Readable names of the 1,000 ImageNet classes."""

from __future__ import annotations

from functools import cache

from models import packages

PACKAGE = "timm"
ORDER_FILE = "timm/data/_info/imagenet_synsets.txt"
NAMES_FILE = "timm/data/_info/imagenet_synset_to_lemma.txt"


@cache
def imagenet_names() -> tuple[str, ...]:
    """The first name of each class, by class index."""
    names = dict(row.split("\t", 1) for row in _rows(NAMES_FILE))
    return tuple(names[synset].split(",")[0] for synset in _rows(ORDER_FILE))


def _rows(file: str) -> list[str]:
    return packages.read(PACKAGE, file).decode("utf-8").splitlines()
