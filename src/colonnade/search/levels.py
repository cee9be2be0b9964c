"""The levels of sparsity that a search tries, and a graph with zeros at given levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from colonnade.ir import Graph
from colonnade.pruning.layers import Layer
from colonnade.sparsity.masks import make_mask
from colonnade.sparsity.patterns import Pattern, implied_sparsity

LEVELS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def levels_of(pattern: Pattern) -> tuple[float, ...]:
    """Dense, then what the pattern can have."""
    implied = implied_sparsity(pattern)
    return LEVELS if implied is None else (0.0, implied)


def with_zeros(
    graph: Graph, layers: Sequence[Layer], levels: Mapping[str, float], pattern: Pattern
) -> Graph:
    """The smallest magnitudes go: quick, and for speed as good as any mask."""
    changed: dict[str, np.ndarray] = {}
    for layer in layers:
        if levels[layer.name] > 0:
            dense = layer.to_matrices(graph.constants[layer.weights])
            sparse = [_drop(matrix, levels[layer.name], pattern, layer.taps) for matrix in dense]
            changed[layer.weights] = layer.from_matrices(np.stack(sparse))
    return graph.with_changes(constants={**graph.constants, **changed})


def _drop(matrix: np.ndarray, level: float, pattern: Pattern, taps: int) -> np.ndarray:
    mask = make_mask(np.square(matrix.astype(np.float64)), pattern, level, taps=taps)
    return np.where(mask, matrix, np.float32(0))
