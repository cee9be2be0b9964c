"""Connected regions of a mask, and the smallest rectangle around one, turned as it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rectangle:
    """Corners from top left clockwise [4, 2] as x, y, and the two sides' lengths."""

    corners: np.ndarray
    width: float
    height: float

    def grown(self, distance: float) -> Rectangle:
        """Each side moved out by so many pixels."""
        center = self.corners.mean(0)
        across = _unit(self.corners[1] - self.corners[0]) * distance
        down = _unit(self.corners[3] - self.corners[0]) * distance
        signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float64)
        moved = self.corners + signs[:, :1] * across + signs[:, 1:] * down
        return Rectangle(
            moved + (center - moved.mean(0)), self.width + 2 * distance, self.height + 2 * distance
        )


def find_regions(mask: np.ndarray) -> list[np.ndarray]:
    """Pixels [count, 2] as x, y of each 8-connected region of a boolean image."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    roots = _join_runs(rows, starts, ends)
    groups: dict[int, list[int]] = {}
    for run, root in enumerate(roots):
        groups.setdefault(root, []).append(run)
    return [_pixels(rows[g], starts[g], ends[g]) for g in groups.values()]


def smallest_rectangle(pixels: np.ndarray) -> Rectangle:
    """The rectangle of least area around pixels; one of its sides lies on their convex hull."""
    hull = convex_hull(pixels.astype(np.float64))
    sides = np.diff(np.vstack([hull, hull[:1]]), axis=0)
    angles = np.unique(np.mod(np.arctan2(sides[:, 1], sides[:, 0]), np.pi / 2))
    across = np.stack([np.cos(angles), np.sin(angles)], -1)
    down = np.stack([-across[:, 1], across[:, 0]], -1)
    x, y = hull @ across.T, hull @ down.T
    areas = (x.max(0) - x.min(0)) * (y.max(0) - y.min(0))
    best = int(areas.argmin())
    left, right, top, bottom = (
        x[:, best].min(),
        x[:, best].max(),
        y[:, best].min(),
        y[:, best].max(),
    )
    turned = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return _ordered(turned @ np.stack([across[best], down[best]]))


def convex_hull(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull in order."""
    ordered = np.unique(points, axis=0)
    if len(ordered) < 3:
        return ordered
    half = [_half_hull(ordered), _half_hull(ordered[::-1])]
    return np.array(half[0][:-1] + half[1][:-1])


def _half_hull(points: np.ndarray) -> list[np.ndarray]:
    kept: list[np.ndarray] = []
    for point in points:
        while len(kept) > 1 and _cross(kept[-2], kept[-1], point) <= 0:
            kept.pop()
        kept.append(point)
    return kept


def _cross(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _ordered(corners: np.ndarray) -> Rectangle:
    """The same corners, the first one top left, then clockwise."""
    start = int(corners.sum(1).argmin())
    turned = np.roll(corners, -start, axis=0)
    width = float(np.linalg.norm(turned[1] - turned[0]))
    height = float(np.linalg.norm(turned[3] - turned[0]))
    return Rectangle(turned, width, height)


def _join_runs(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[int]:
    """For each run of pixels of a row the first run that it hangs together with."""
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    above = 0
    for run in range(len(rows)):
        while rows[above] < rows[run] - 1:
            above += 1
        other = above
        while rows[other] == rows[run] - 1 and starts[other] <= ends[run]:
            if ends[other] >= starts[run]:
                a, b = sorted((root(other), root(run)))
                parent[b] = a
            other += 1
    return [root(run) for run in range(len(rows))]


def _pixels(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    counts = ends - starts
    before = np.repeat(np.cumsum(counts) - counts, counts)
    x = np.repeat(starts, counts) + np.arange(int(counts.sum())) - before
    return np.stack([x, np.repeat(rows, counts)], -1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
