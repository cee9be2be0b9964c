"""The three stages of a task: an item becomes rows, the engine runs them, a result is made.

A *row* is what an item gives to the model's inputs, without the batch axis. Rows of many items
share a batch when their shapes, after padding, are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from colonnade.errors import InputError

Row = Mapping[str, np.ndarray]
Run = Callable[[Row], Mapping[str, np.ndarray]]
"""One call of the engine: arrays with a batch axis to arrays with one."""

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Work(Generic[Result]):
    """What an item asks of the engine, and how the answers to its rows become its result."""

    rows: Sequence[Row]
    finish: Callable[[Sequence[Row]], Result]


@dataclass(frozen=True)
class Batching:
    """Which rows run together, and how they are padded."""

    sizes: tuple[int, ...] = (1, 2, 4, 8)
    """Rows of a batch; a batch with fewer repeats its last row. Few sizes mean few plans."""
    lengths: tuple[int, ...] = ()
    """What the last axis of a row is padded to, the smallest that holds it; none: no padding."""
    padding: Mapping[str, float] = field(default_factory=dict)
    """What an input is padded with, by name; 0 where it is not named."""
    is_batched: bool = True
    """Whether the model's inputs have a batch axis; without, a row is all that they get."""


@dataclass(frozen=True)
class Batch:
    """Rows in one array for each input, and which of all rows they are."""

    feeds: Row
    rows: tuple[int, ...]


def run_rows(run: Run, rows: Sequence[Row], batching: Batching) -> list[Row]:
    """The answers to rows, in their order."""
    answers: list[Row] = [{}] * len(rows)
    for batch in make_batches(rows, batching):
        made = run(batch.feeds)
        for place, row in enumerate(batch.rows):
            answers[row] = pick_answer(made, place, batching)
    return answers


def make_batches(rows: Sequence[Row], batching: Batching) -> list[Batch]:
    """Rows of one padded shape together, at most the largest size in a batch."""
    if not batching.is_batched:
        return [Batch(row, (index,)) for index, row in enumerate(rows)]
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    padded = [pad_row(row, batching) for row in rows]
    for index, row in enumerate(padded):
        groups.setdefault(tuple(array.shape for array in row.values()), []).append(index)
    largest = max(batching.sizes)
    return [
        _stack(padded, members[start : start + largest], batching)
        for members in groups.values()
        for start in range(0, len(members), largest)
    ]


def pick_answer(made: Mapping[str, np.ndarray], place: int, batching: Batching) -> Row:
    """The answer to one row of a batch."""
    return {name: array[place] for name, array in made.items()} if batching.is_batched else made


def pad_row(row: Row, batching: Batching) -> Row:
    """The row, its last axis padded to one of the lengths."""
    if not batching.lengths:
        return row
    return {
        name: _pad(array, fit(array.shape[-1], batching.lengths), batching.padding.get(name, 0))
        for name, array in row.items()
    }


def fit(size: int, sizes: Sequence[int]) -> int:
    """The smallest of the sizes that is not below `size`."""
    fitting = [known for known in sizes if known >= size]
    if not fitting:
        raise InputError(f"size {size} is above the largest that is planned for, {max(sizes)}")
    return min(fitting)


def _pad(array: np.ndarray, length: int, value: float) -> np.ndarray:
    free = [(0, 0)] * (array.ndim - 1) + [(0, length - array.shape[-1])]
    return np.pad(array, free, constant_values=value)


def _stack(rows: Sequence[Row], members: Sequence[int], batching: Batching) -> Batch:
    size = fit(len(members), batching.sizes)
    filled = [*members, *[members[-1]] * (size - len(members))]
    names = rows[members[0]]
    feeds = {name: np.stack([rows[index][name] for index in filled]) for name in names}
    return Batch(feeds, tuple(members))
