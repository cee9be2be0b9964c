"""How a sparsity for the whole model is shared out over its layers.

Every rule returns the sparsity of each layer by name; weighted by size, their mean is the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from colonnade.errors import InputError
from colonnade.sparsity.masks import check_sparsity

Allocation = Literal["uniform", "erk", "owl", "global", "sensitivity"]
ALLOCATIONS: tuple[Allocation, ...] = get_args(Allocation)

SPARSITY_MAX = 0.99
"""No layer loses more, whatever the rule says."""
OWL_SPREAD = 0.08
OWL_OUTLIER = 5.0


@dataclass(frozen=True)
class LayerSize:
    """The extents of a layer's weights."""

    rows: int
    inputs: int
    kernel: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.rows * self.inputs * int(np.prod(self.kernel, dtype=np.int64))


def allocate_uniform(layers: Mapping[str, LayerSize], sparsity: float) -> dict[str, float]:
    """The same everywhere."""
    check_sparsity(sparsity)
    return dict.fromkeys(layers, sparsity)


def allocate_erk(layers: Mapping[str, LayerSize], sparsity: float) -> dict[str, float]:
    """Erdos-Renyi-Kernel: density follows the sum of the extents over their product."""
    raw = np.array([
        (layer.rows + layer.inputs + sum(layer.kernel)) / layer.size for layer in layers.values()
    ])  # fmt: skip
    sizes = _sizes(layers)
    check_sparsity(sparsity)
    is_full = np.zeros(len(raw), bool)
    while True:
        # What the full ones do not take is left to the others.
        wanted = (1 - sparsity) * sizes.sum() - sizes[is_full].sum()
        density = np.where(is_full, 1.0, raw * wanted / (raw * sizes)[~is_full].sum())
        over = (density > 1) & ~is_full
        if not over.any():
            return balance(layers, 1 - density, sparsity)
        is_full |= over


def allocate_owl(
    layers: Mapping[str, LayerSize],
    sparsity: float,
    outliers: Mapping[str, float],
    spread: float = OWL_SPREAD,
) -> dict[str, float]:
    """Outlier-weighted: layers with more outlying weights lose less.

    All lie within `spread` of `sparsity`, and the layer that is farthest from the mean lies that
    far off (L. Yin et al., "Outlier Weighed Layerwise Sparsity", 2023; their code stretches the
    range to twice `spread` and leaves it where a few layers have most of the outliers).
    """
    check_sparsity(sparsity)
    shares = np.array([outliers[name] for name in layers])
    above = shares - np.average(shares, weights=_sizes(layers))
    farthest = float(np.abs(above).max())
    if np.ptp(shares) == 0:
        return balance(layers, np.full(len(shares), sparsity), sparsity)
    return balance(layers, sparsity - above / farthest * spread, sparsity)


def outlier_share(costs: np.ndarray, factor: float = OWL_OUTLIER) -> float:
    """The share of weights whose |w| |x| is `factor` times the mean; `costs` are its squares."""
    scores = np.sqrt(costs)
    return float(np.mean(scores > factor * scores.mean()))


def allocate_global(
    layers: Mapping[str, LayerSize], sparsity: float, costs: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """One threshold for all: the cheapest weights of the model go, wherever they are."""
    check_sparsity(sparsity)
    flat = [np.ravel(costs[name]) for name in layers]
    joined = np.concatenate(flat)
    count = round(sparsity * joined.size)
    if count == 0:
        return dict.fromkeys(layers, 0.0)
    threshold = np.partition(joined, count - 1)[count - 1]
    shares = np.array([np.mean(part <= threshold) for part in flat])
    return balance(layers, shares, sparsity)


def allocate_by_sensitivity(
    layers: Mapping[str, LayerSize],
    sparsity: float,
    curves: Mapping[str, Sequence[tuple[float, float]]],
) -> dict[str, float]:
    """The least sum of errors: step by step where a further zero adds the least error.

    `curves`: (sparsity, error) of each layer, rising in both; the first is where it starts.
    """
    check_sparsity(sparsity)
    at = dict.fromkeys(layers, 0)
    wanted = sparsity * _sizes(layers).sum()

    def zeros(name: str, point: int) -> float:
        return curves[name][point][0] * layers[name].size

    while sum(zeros(name, point) for name, point in at.items()) < wanted:
        steps = [
            ((curves[name][point][1] - curves[name][now][1])
             / max(zeros(name, point) - zeros(name, now), 1e-9), name, point)
            for name, now in at.items()
            for point in range(now + 1, len(curves[name]))
        ]  # fmt: skip
        if not steps:
            break
        _, name, point = min(steps)
        at[name] = point
    return balance(layers, np.array([curves[n][p][0] for n, p in at.items()]), sparsity)


def balance(
    layers: Mapping[str, LayerSize], wanted: np.ndarray, sparsity: float
) -> dict[str, float]:
    """All moved by the same amount, within 0 and SPARSITY_MAX, until their mean is the target."""
    check_sparsity(sparsity)
    if sparsity > SPARSITY_MAX:
        raise InputError(
            f"sparsity={sparsity}: shared out over layers it is at most {SPARSITY_MAX}"
        )
    sizes = _sizes(layers)
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = np.sum(np.clip(wanted + middle, 0, SPARSITY_MAX) * sizes) / sizes.sum()
        low, high = (middle, high) if mean < sparsity else (low, middle)
    shares = np.clip(wanted + high, 0, SPARSITY_MAX)
    return {name: float(share) for name, share in zip(layers, shares, strict=True)}


def _sizes(layers: Mapping[str, LayerSize]) -> np.ndarray:
    return np.array([layer.size for layer in layers.values()], np.float64)
