"""Sparse variants of the catalogue's models: the dense file with zeros imposed on its weights.

    resnet50_s95            95 % zeros, single weights of the smallest magnitude
    bert_base_s90_1x4       90 % zeros in blocks of 1x4 (or 4x1) of W[M, K]
    minilm_l6_s50_2of4      2:4 (or s75_1of4)

Nothing is trained again: these are for speed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REVISION = 0
"""Added to the dense model's revision: raise it when other weights get zeros than before."""

_NAME = re.compile(r"(?P<dense>\w+?)_s(?P<percent>\d\d)(?:_(?P<structure>1x4|4x1|2of4|1of4))?")


@dataclass(frozen=True)
class Variant:
    """What a variant's name says."""

    dense: str
    """The model that it is made of."""
    percent: int
    structure: str


def parse_variant(name: str) -> Variant | None:
    """The parts of a variant's name; None for another name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    structure = (match["structure"] or "unstructured").replace("of", ":")
    return Variant(match["dense"], int(match["percent"]), structure)


def write_variant(dense: Path, variant: Variant, dense_weights: tuple[str, ...], to: Path) -> None:
    """Write the dense file with zeros imposed; `dense_weights` get none."""
    from colonnade.bench.imposed import Imposition, impose_on_file

    imposition = Imposition(variant.percent / 100, variant.structure, dense_weights)
    impose_on_file(dense, to, imposition)
