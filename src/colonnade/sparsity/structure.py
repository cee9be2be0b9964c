"""What the zeros of a weight look like, as a file tells its readers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPARSITY_KEY = "colonnade.sparsity"
"""Metadata of an ONNX file: JSON, `Zeros` by tensor; of each of those tensors: its own."""
SPARSITY_MIN = 0.05
"""Fewer zeros are not worth a word."""
GROUPS = ((1, 4), (2, 4), (1, 8), (2, 8), (4, 8), (1, 16), (2, 16), (4, 16), (1, 32))
"""N:M that are looked for, along the inputs of a row."""
BLOCKS = ((4, 4), (1, 4), (4, 1), (2, 1), (1, 2))
"""Blocks of outputs x inputs that are looked for, the largest first."""
UNSTRUCTURED = "unstructured"
DENSE = "dense"


@dataclass(frozen=True)
class Zeros:
    """The share of zeros in a tensor, and the narrowest known structure that they have."""

    sparsity: float
    structure: str


def describe_zeros(matrix: np.ndarray) -> Zeros:
    """Of a matrix of outputs x inputs.

    >>> describe_zeros(np.array([[0.0, 1, 0, 2], [3, 0, 0, 0]]))
    Zeros(sparsity=0.625, structure='2:4')
    """
    kept = matrix != 0
    sparsity = 1.0 - float(kept.mean()) if kept.size else 0.0
    if sparsity < SPARSITY_MIN:
        return Zeros(sparsity, DENSE)
    return Zeros(sparsity, _find_structure(kept) if kept.any() else UNSTRUCTURED)


def _find_structure(kept: np.ndarray) -> str:
    rows, columns = kept.shape
    for height, width in BLOCKS:
        if rows % height == 0 and columns % width == 0:
            blocks = kept.reshape(rows // height, height, columns // width, width)
            if (blocks.any((1, 3)) == blocks.all((1, 3))).all():
                return f"block {height}x{width}"
    fitting = [
        (n / m, m, n)
        for n, m in GROUPS
        if columns % m == 0 and int(kept.reshape(-1, m).sum(1).max()) <= n
    ]
    if not fitting:
        return UNSTRUCTURED
    _, m, n = min(fitting)
    return f"{n}:{m}"
