"""One layer of a torch model, solved in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from colonnade.sparsify.layers import Layer
from colonnade.sparsify.oneshot.inputs import InputSums, num_parts
from colonnade.sparsity import Method, Pattern, Tuning, solve
from colonnade.sparsity.solvers.damping import error_of


@dataclass(frozen=True)
class Solver:
    """How layers are solved."""

    method: Method
    pattern: Pattern
    damping: float
    bits: int | None = None
    corrects: bool = True


@dataclass(frozen=True)
class LayerResult:
    """What became of a layer."""

    name: str
    sparsity: float
    error: float | None = None
    """Squared error of its output over the square of it, on the calibration data."""
    why: str = ""
    """Why it was left as it was; "" if it was not."""


def solve_layer(
    layer: Layer, sums: InputSums | None, solver: Solver, sparsity: float
) -> tuple[LayerResult, Tensor]:
    """Change the layer's weights, and its bias or normalisation where it takes up the mean; the
    mask in the shape of the weight comes back, True stays.

    Without `sums` nothing takes up the mean, and only "magnitude" can do it.
    """
    dense = dense_matrices(layer)
    shift_into = _shifted(layer, sums) if solver.corrects and sums is not None else None
    hessians: Sequence[np.ndarray | None] = [None] * len(dense)
    if sums is not None:
        hessians = list((sums.products if shift_into is None else sums.centred()).numpy())
    tuning = Tuning(damping=solver.damping, bits=solver.bits, taps=layer.taps)
    solved = [
        solve(solver.method, w, h, solver.pattern, sparsity, tuning)
        for w, h in zip(dense, hessians, strict=True)
    ]
    weights = np.stack([made.weights for made in solved])
    mask = torch.from_numpy(np.concatenate([made.mask for made in solved]))
    matrix = layer.matrix()
    made = torch.from_numpy(weights.reshape(matrix.shape)).to(matrix)
    with torch.no_grad():
        layer.weight.copy_(layer.in_shape(made))
        if shift_into is not None and sums is not None:
            change = torch.from_numpy(weights - dense)
            shift = (change @ sums.means[:, :, None]).reshape(-1).to(shift_into)
            shift_into.add_(shift if shift_into is sums.norm_mean else -shift)
    share = 1 - float(np.count_nonzero(weights)) / weights.size
    return LayerResult(layer.name, share, _error(dense, weights, hessians)), layer.in_shape(mask)


def dense_matrices(layer: Layer) -> np.ndarray:
    """The weights in float64, [groups, rows, cols]."""
    matrix = layer.matrix()
    found = matrix.cpu().double().numpy().reshape(num_parts(layer), -1, matrix.shape[1])
    return np.asarray(found)


def _error(
    dense: np.ndarray, weights: np.ndarray, hessians: Sequence[np.ndarray | None]
) -> float | None:
    triples = [(d, w, h) for d, w, h in zip(dense, weights, hessians, strict=True) if h is not None]
    if not triples:
        return None
    error = sum(error_of(w - d, h) for d, w, h in triples)
    energy = sum(error_of(d, h) for d, _, h in triples)
    return error / energy if energy > 0 else 0.0


def _shifted(layer: Layer, sums: InputSums) -> Tensor | None:
    """What takes up a shift of the output: the bias, or the mean of a normalisation behind it.

    The biases of several layers that share a weight would have to move each by its own inputs.
    """
    leaf = layer.name.rpartition(".")[2]
    bias = getattr(layer.module, leaf.removesuffix("weight") + "bias", None)
    if isinstance(bias, Tensor) and leaf.endswith("weight"):
        is_shared = any(held.module is not layer.module for held in layer.others)
        return None if is_shared else bias
    return sums.norm_mean
