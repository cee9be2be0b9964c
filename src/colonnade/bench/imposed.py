"""Zeros imposed on the weights of an ONNX file, so that every engine can run the same sparse model.

This is for measuring speed: nothing is trained again, the answers are those of a damaged model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colonnade.bench.impose import UNSTRUCTURED, impose_mask, verify_level

if TYPE_CHECKING:
    from colonnade.onnx.weights import ProductWeight

MIN_WEIGHTS = 1024
"""A weight with fewer elements stays dense: it costs little time, and a model much accuracy."""


@dataclass(frozen=True)
class Imposition:
    """What to impose. Raises InputError for a level or structure that there is not.

    Weights of MatMul and Gemm, and of Conv with more than one input channel in a group, get zeros.
    Dense stay: the first convolution, depthwise ones, embeddings and whatever else another operator
    reads, weights of fewer than MIN_WEIGHTS elements, and those whose name or node matches `dense`.
    """

    sparsity: float
    structure: str = UNSTRUCTURED
    dense: tuple[str, ...] = ()
    """Names of weights or nodes, with wildcards as in file names."""

    def __post_init__(self) -> None:
        verify_level(self.sparsity, self.structure)


@dataclass(frozen=True)
class ImposedWeight:
    """What became of one weight; `reason` says why it stays dense."""

    name: str
    nodes: tuple[str, ...]
    size: int
    zeros: int
    reason: str = ""


@dataclass(frozen=True)
class Imposed:
    """A model file with zeros in it."""

    path: Path
    imposition: Imposition
    weights: tuple[ImposedWeight, ...]

    @property
    def masked(self) -> tuple[ImposedWeight, ...]:
        """Those that got zeros."""
        return tuple(weight for weight in self.weights if not weight.reason)

    @property
    def zeros(self) -> float:
        """Share of zeros in the weights that got them."""
        masked = self.masked
        return sum(w.zeros for w in masked) / max(1, sum(w.size for w in masked))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for results."""
        masked = self.masked
        return {
            "sparsity": self.imposition.sparsity,
            "structure": self.imposition.structure,
            "num_weights": len(masked),
            "num_elements": sum(weight.size for weight in masked),
            "num_zeros": sum(weight.zeros for weight in masked),
            "dense": {weight.name: weight.reason for weight in self.weights if weight.reason},
        }

    def __str__(self) -> str:
        num_masked = len(self.masked)
        return (
            f"zeros imposed: {self.zeros:.1%} of {num_masked} weights "
            f"({self.imposition.structure}); {len(self.weights) - num_masked} stay dense"
        )


def impose_on_file(source: Path, target: Path, imposition: Imposition) -> Imposed:
    """Write a copy of the model with zeros imposed. Raises ModelError for one that is refused."""
    from colonnade.onnx.weights import WeightedModel  # loads onnx

    model = WeightedModel(source)
    weights = tuple(_impose(weight, imposition) for weight in model.product_weights())
    model.save(target)
    return Imposed(target, imposition, weights)


@contextmanager
def imposed_model(source: Path, imposition: Imposition) -> Iterator[Imposed]:
    """A copy with zeros imposed, under the same file name, that goes when the block is left."""
    with tempfile.TemporaryDirectory(prefix="colonnade-sparse-") as folder:
        yield impose_on_file(source, Path(folder) / source.name, imposition)


def node_sparsity(path: Path) -> dict[str, float]:
    """The share of zeros in the weight of each product or convolution, by the node's name."""
    from colonnade.onnx.weights import WeightedModel  # loads onnx

    found = {}
    for weight in WeightedModel(path).product_weights():
        matrix = weight.matrix
        found.update(dict.fromkeys(weight.nodes, float((matrix == 0).mean()) if matrix.size else 0))
    return found


def _impose(weight: ProductWeight, imposition: Imposition) -> ImposedWeight:
    matrix = weight.matrix
    reason = _why_dense(weight, matrix.size, imposition.dense)
    if not reason and imposition.sparsity:
        mask = impose_mask(matrix, imposition.sparsity, imposition.structure)
        matrix = np.where(mask, matrix, matrix.dtype.type(0))
        weight.replace(matrix)
    zeros = int((matrix == 0).sum())
    return ImposedWeight(weight.name, weight.nodes, matrix.size, zeros, reason)


def _why_dense(weight: ProductWeight, size: int, dense: Sequence[str]) -> str:
    """Why the weight gets no zeros; empty when it does."""
    if any(fnmatchcase(name, p) for p in dense for name in (weight.name, *weight.nodes)):
        return "asked for"
    if weight.group_channels == 1:
        return "depthwise"
    if weight.is_first_conv:
        return "first convolution"
    if size < MIN_WEIGHTS:
        return f"fewer than {MIN_WEIGHTS} elements"
    return ""
