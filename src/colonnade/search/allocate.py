"""allocate(): one level for each layer, so that errors are least and costs stay within a budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from colonnade.errors import InputError

BEYOND = 2.0**31
"""More steps than a budget ever has."""
CELLS = 4000
"""Steps that the range between the cheapest choice and the dearest is divided into."""


def allocate(
    errors: Sequence[Sequence[float]],
    costs: Sequence[Sequence[float]],
    budget: float,
    cells: int = CELLS,
) -> tuple[int, ...]:
    """The level of each layer with the least sum of errors whose costs sum to at most `budget`.

    By dynamic programming over (layer, cost). Costs above a layer's cheapest are rounded up to a
    grid, so the budget holds; the choice is exact where they lie on the grid. Raises InputError
    where even the cheapest choice is dearer: see `cheapest`.

    >>> allocate([[0, 1], [0, 5]], [[4, 1], [4, 1]], budget=5)
    (1, 0)
    """
    least = [min(layer) for layer in costs]
    free = budget - sum(least)
    if free < -1e-9 * max(1.0, abs(budget)):
        raise InputError(f"budget {budget:.6g} is below the cheapest choice, {sum(least):.6g}")
    span = sum(max(layer) for layer in costs) - sum(least)
    if free >= span:
        return tuple(_best(layer, own) for layer, own in zip(errors, costs, strict=True))
    step = _step(costs, least, max(free, 0.0), cells)
    room = int(np.floor(max(free, 0.0) / step + 1e-9)) if step else 0
    steps = [
        [_steps_of(cost - low, step) for cost in layer]
        for layer, low in zip(costs, least, strict=True)
    ]
    return _solve(errors, steps, room)


def _steps_of(above: float, step: float) -> int:
    """Without any room (a step of 0), whatever costs more than the cheapest is beyond it; so is what
    takes more steps than there can be."""
    return int(np.ceil(min(above / step, BEYOND) - 1e-9)) if step else int(above > 0)


def cheapest(costs: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """The level of each layer that costs least; of equal ones the lowest."""
    return tuple(int(np.argmin(layer)) for layer in costs)


def _best(errors: Sequence[float], costs: Sequence[float]) -> int:
    return min(range(len(errors)), key=lambda level: (errors[level], costs[level]))


def _step(
    costs: Sequence[Sequence[float]], least: Sequence[float], free: float, cells: int
) -> float:
    """Whole numbers keep their own grid where it is not finer than `cells`."""
    above = [cost - low for layer, low in zip(costs, least, strict=True) for cost in layer]
    if all(float(value).is_integer() for value in above) and free <= cells:
        return 1.0
    return free / cells


def _solve(
    errors: Sequence[Sequence[float]], steps: Sequence[Sequence[int]], room: int
) -> tuple[int, ...]:
    """`best[r]`: the least error of the layers so far that take at most r steps."""
    best = np.zeros(room + 1)
    choices: list[np.ndarray] = []
    for layer, taken in zip(errors, steps, strict=True):
        found = np.full((len(layer), room + 1), np.inf)
        for level, (error, step) in enumerate(zip(layer, taken, strict=True)):
            if step <= room:
                found[level, step:] = best[: room + 1 - step] + error
        choices.append(found.argmin(0))
        best = found.min(0)
    levels, left = [], room
    for choice, taken in zip(reversed(choices), reversed(steps), strict=True):
        level = int(choice[left])
        levels.append(level)
        left -= taken[level]
    return tuple(reversed(levels))
