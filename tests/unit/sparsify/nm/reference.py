"""The N:M rules in plain loops, as an oracle."""

from __future__ import annotations

import numpy as np

from colonnade.sparsify.nm.flow import Flow, FlowAt
from colonnade.sparsify.nm.pattern import NMPattern


def mask(weight: np.ndarray, pattern: NMPattern) -> np.ndarray:
    """Group by group, weight by weight."""
    axis = 1 if pattern.axis == "row" else 0
    kept = np.zeros(weight.shape, bool)
    lines = np.moveaxis(weight, axis, -1)
    out = np.moveaxis(kept, axis, -1)
    for place in np.ndindex(lines.shape[:-1]):
        for start in range(0, lines.shape[-1], pattern.m):
            group = [abs(float(value)) for value in lines[place][start : start + pattern.m]]
            ranked = sorted(range(len(group)), key=lambda idx: (-group[idx], idx))
            for idx in ranked[: pattern.n]:
                out[(*place, start + idx)] = True
    return kept


def shown(weight: np.ndarray, now: FlowAt) -> np.ndarray:
    """The weight of the forward pass."""
    return weight * factors(weight, now)


def factors(weight: np.ndarray, now: FlowAt) -> np.ndarray:
    """What each weight is multiplied by."""
    kept = mask(weight, now.pattern)
    outer = np.ones_like(kept) if now.outer is None else mask(weight, now.outer)
    return np.where(kept, 1.0, np.where(outer, now.leak, 0.0))


def gradient(arriving: np.ndarray, weight: np.ndarray, flow: Flow, now: FlowAt) -> np.ndarray:
    """The gradient of the dense weight."""
    passed = arriving if flow.grad == "ste" else arriving * factors(weight, now)
    return passed + flow.decay * ~mask(weight, now.pattern) * weight
