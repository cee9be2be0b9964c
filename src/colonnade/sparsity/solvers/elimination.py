"""eliminate(): greedy removal of weights, many rows at a time.

Removing column p from a row takes a rank-one term off the inverse Hessian that the row sees. Those
terms are kept as rows of V (the inverse is H^-1 - V^T V), so nothing of cols x cols is written in
each step. A band looks at all of its units only once in `stride` removals: in between it works on
its cheapest `candidates`, whose part of the inverse is small and exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BATCH_BYTES = 96 << 20
"""Of V, for the bands that are worked on together."""

_FLOOR = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Elimination:
    """How exact the greedy order is; stride 1 is ExactOBS."""

    stride: int = 16
    candidates: int = 48
    dtype: type = np.float32


@dataclass(frozen=True)
class Trace:
    """Units in the order of removal and what each added to the error, [bands, count]."""

    order: np.ndarray
    prices: np.ndarray

    @property
    def count(self) -> int:
        """Removals in each band."""
        return int(self.order.shape[1])


def eliminate(
    weights: np.ndarray,
    inverse: np.ndarray,
    unit: tuple[int, int],
    count: int,
    effort: Elimination,
    group: int | None = None,
) -> Trace:
    """Remove `count` units of `unit` (rows, cols) from each band of rows.

    `inverse`: of the Hessian. `group`: consecutive units, of which all groups lose the same number.
    """
    height, width = unit
    bands: np.ndarray = weights.astype(effort.dtype).reshape(-1, height, weights.shape[1])
    shared: np.ndarray = inverse.astype(effort.dtype)
    each = max(1, BATCH_BYTES // max(1, count * width * bands.shape[2] * bands.itemsize))
    each = min(each, 64)
    parts = [
        _Batch(bands[i : i + each], shared, width, count, effort, group).run()
        for i in range(0, len(bands), each)
    ]
    return Trace(
        np.concatenate([p.order for p in parts]), np.concatenate([p.prices for p in parts])
    )


class _Batch:
    """Bands that are worked on together: their weights, blocks of the inverse's diagonal and V."""

    def __init__(
        self,
        weights: np.ndarray,
        inverse: np.ndarray,
        width: int,
        count: int,
        effort: Elimination,
        group: int | None,
    ) -> None:
        bands, _, cols = weights.shape
        self._weights = weights.copy()
        self._inverse = inverse
        self._width = width
        self._units = cols // width
        self._effort = effort
        self._count = count
        self._group = group or self._units
        self._room = np.full(
            (bands, self._units // self._group), count * self._group // self._units
        )
        self._terms = np.zeros((bands, count * width, cols), inverse.dtype)
        grid = inverse.reshape(self._units, width, self._units, width)
        blocks = np.einsum("iaib->iab", grid)
        self._blocks = np.repeat(blocks[None], bands, 0)
        self._is_open = np.ones((bands, self._units), bool)
        self._order = np.zeros((bands, count), np.int64)
        self._prices = np.zeros((bands, count))
        self._done = 0

    def run(self) -> Trace:
        while self._done < self._count:
            chosen = self._remove_cheapest()
            for band, units in enumerate(chosen):
                self._make_good(band, units)
            self._done += chosen.shape[1]
        return Trace(self._order, self._prices)

    def _remove_cheapest(self) -> np.ndarray:
        """Exact greedy removals among the candidates of every band; the units, [bands, some]."""
        units = self._find_candidates()
        num_bands, num = units.shape
        cols = self._cols_of(units)
        local = np.stack([self._local_inverse(b, cols[b]) for b in range(num_bands)])
        weights = np.take_along_axis(self._weights, cols[:, None, :], 2).astype(np.float64)
        is_open = np.take_along_axis(self._is_open, units, 1)
        bands, chosen = np.arange(num_bands), []
        for step in range(min(self._effort.stride, self._count - self._done, num)):
            grid = local.reshape(num_bands, num, self._width, num, self._width)
            prices = _prices(weights, np.einsum("biuiv->biuv", grid))
            groups = units // self._group
            has_room = np.take_along_axis(self._room, groups, 1) > 0
            prices[~(is_open & has_room)] = np.inf
            best = prices.argmin(1)
            found = prices[bands, best]
            if not np.isfinite(found).all():
                break
            chosen.append(units[bands, best])
            self._order[:, self._done + step] = chosen[-1]
            self._prices[:, self._done + step] = found
            is_open[bands, best] = False
            self._room[bands, groups[bands, best]] -= 1
            _remove(local, weights, best, self._width)
        assert chosen
        return np.stack(chosen, 1)

    def _find_candidates(self) -> np.ndarray:
        prices = _prices(self._weights, self._blocks)
        room = np.repeat(self._room > 0, self._group, 1)
        prices[~(self._is_open & room)] = np.inf
        num = min(max(self._effort.candidates, self._effort.stride), self._units)
        if num == self._units:
            return np.repeat(np.arange(num)[None], len(prices), 0)
        return np.sort(np.argpartition(prices, num - 1, axis=1)[:, :num], axis=1)

    def _local_inverse(self, band: int, cols: np.ndarray) -> np.ndarray:
        terms = self._terms[band, : self._done * self._width, cols].T
        return np.asarray(self._inverse[np.ix_(cols, cols)] - terms.T @ terms, np.float64)

    def _make_good(self, band: int, units: np.ndarray) -> None:
        """Take the units out of the band's inverse and weights."""
        cols = self._cols_of(units[None])[0]
        first = self._done * self._width
        last = first + cols.size
        before = self._terms[band, :first]
        rows = self._inverse[cols] - before[:, cols].T @ before
        factor = np.linalg.cholesky(_safe(rows[:, cols].astype(np.float64)))
        inner = np.linalg.inv(factor).astype(rows.dtype)
        terms = inner @ rows
        self._terms[band, first:last] = terms
        weights = self._weights[band]
        weights -= (weights[:, cols] @ inner.T) @ terms
        weights[:, cols] = 0.0
        grid = terms.reshape(cols.size, self._units, self._width)
        self._blocks[band] -= np.einsum("kia,kib->iab", grid, grid)
        self._is_open[band, units] = False

    def _cols_of(self, units: np.ndarray) -> np.ndarray:
        cols = units[:, :, None] * self._width + np.arange(self._width)
        return np.asarray(cols.reshape(len(units), -1))


def _prices(weights: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """[bands, units]: w B^-1 w^T summed over the rows of a band; B is the unit's block."""
    bands, height, _ = weights.shape
    units, width = blocks.shape[1], blocks.shape[2]
    parts = weights.reshape(bands, height, units, width).transpose(0, 2, 3, 1).astype(np.float64)
    if width == 1:
        return np.asarray(np.square(parts[:, :, 0]).sum(2) / np.maximum(blocks[:, :, 0, 0], _FLOOR))
    solved = np.linalg.solve(_safe(blocks.astype(np.float64)), parts)
    return np.asarray((parts * solved).sum((2, 3)))


def _remove(local: np.ndarray, weights: np.ndarray, best: np.ndarray, width: int) -> None:
    """One unit of each band out of its candidates' inverse and weights, in place."""
    if width == 1:
        bands = np.arange(len(best))
        row = local[bands, best]
        scaled_row = row / np.maximum(row[bands, best], _FLOOR)[:, None]
        weights -= weights[bands, :, best][:, :, None] * scaled_row[:, None, :]
        local -= row[:, :, None] * scaled_row[:, None, :]
        return
    cols = best[:, None] * width + np.arange(width)
    taken = np.take_along_axis(local, cols[:, :, None], 1)
    block = np.take_along_axis(taken, cols[:, None, :], 2)
    scaled = np.linalg.solve(_safe(block), taken)
    old = np.take_along_axis(weights, cols[:, None, :], 2)
    weights -= old @ scaled
    local -= taken.transpose(0, 2, 1) @ scaled


def _safe(blocks: np.ndarray) -> np.ndarray:
    """Blocks that can be inverted: units that are gone have zeros there."""
    width = blocks.shape[-1]
    diagonal = np.einsum("...ii->...i", blocks)
    floor = 1e-7 * np.maximum(diagonal.max(-1), 1e-12)
    return np.asarray(blocks + floor[..., None, None] * np.eye(width))
