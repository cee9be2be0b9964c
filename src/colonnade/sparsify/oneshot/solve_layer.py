"""One layer of a torch model, solved in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from colonnade.sparsify.layers import Layer
from colonnade.sparsify.oneshot.inputs import InputSums
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
    error: float
    """Squared error of its output over the square of it, on the calibration data."""


def solve_layer(
    layer: Layer, sums: InputSums, solver: Solver, sparsity: float
) -> tuple[LayerResult, Tensor]:
    """Change the layer's weights, and its bias or normalisation where it takes up the mean; the
    mask in the shape of the weight comes back, True stays."""
    matrix = layer.matrix()
    groups = len(sums.products)
    dense = matrix.cpu().double().numpy().reshape(groups, -1, matrix.shape[1])
    shift_into = _shifted(layer, sums) if solver.corrects else None
    hessians = (sums.products if shift_into is None else sums.centred()).numpy()
    tuning = Tuning(damping=solver.damping, bits=solver.bits, taps=layer.taps)
    solved = [
        solve(solver.method, w, h, solver.pattern, sparsity, tuning)
        for w, h in zip(dense, hessians, strict=True)
    ]
    weights = np.stack([made.weights for made in solved])
    mask = torch.from_numpy(np.concatenate([made.mask for made in solved]))
    made = torch.from_numpy(weights.reshape(matrix.shape)).to(matrix)
    with torch.no_grad():
        layer.weight.copy_(layer.in_shape(made))
        if shift_into is not None:
            change = torch.from_numpy(weights - dense)
            shift = (change @ sums.means[:, :, None]).reshape(-1).to(shift_into)
            shift_into.add_(shift if shift_into is sums.norm_mean else -shift)
    pairs = list(zip(dense, weights, hessians, strict=True))
    error = sum(error_of(w - d, h) for d, w, h in pairs)
    energy = sum(error_of(d, h) for d, _, h in pairs)
    share = 1 - float(np.count_nonzero(weights)) / weights.size
    result = LayerResult(layer.name, share, error / energy if energy > 0 else 0.0)
    return result, layer.in_shape(mask)


def _shifted(layer: Layer, sums: InputSums) -> Tensor | None:
    """What takes up a shift of the output: the bias, or the mean of a normalisation behind it."""
    bias = getattr(layer.module, "bias", None)
    if isinstance(bias, Tensor) and layer.name.endswith("weight"):
        return bias
    return sums.norm_mean
