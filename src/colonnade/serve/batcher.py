"""Which requests run together, and when: a rule over plain data; the caller has the clock.

Requests wait in the order of priority (1 first), then of arrival, in one group for each `key`:
those with the same key can be rows of one batch. A group is due when

- it can fill the largest batch, or holds a preferred size,
- its oldest request has waited `delay_s`, or
- the deadline of one of them is so near that it has to start now.

A batch gets all rows of its group, rounded up to a size that the engine has a plan for, or only as
many as fill a smaller size where that and a batch of the rest take less time, by what batches of
each size took so far. Nothing is held back for the sake of a batch
beyond `delay_s`, and nothing whose deadline has passed is run. No batch is larger than the smallest
size that answers about as many rows per second as any (`efficient_rows`): more only adds latency.

The queue is bounded in time: `wait_s` is how long one more request would wait, by the same measured
times, and the caller refuses it beyond `queue_max_s`.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

NEVER = math.inf
EFFICIENT_SHARE = 0.9
"""Of the best rows per second: what a smaller batch may lose for its shorter time."""
QUEUE_BATCHES = 1.25
"""How long a request may wait by default, in times of an efficient batch. Less than one would let
the engine idle under load; more would let requests wait longer than they run."""

QUEUE_MIN_S = 0.02
"""...and at least so long: for a small model the rest of the process takes longer than batches."""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """`sizes`: batch sizes that the engine has plans for, in rising order; the last is the largest.
    `preferred`: sizes that start at once. `queue_depth_max`: requests that may wait. `queue_max_s`:
    how long one may be expected to wait; None follows from what batches take."""

    sizes: tuple[int, ...] = (1,)
    preferred: tuple[int, ...] = ()
    delay_s: float = 0.0
    queue_depth_max: int = 128
    queue_max_s: float | None = None

    @property
    def rows_max(self) -> int:
        """Rows of the largest batch."""
        return self.sizes[-1]


@dataclass(slots=True, eq=False)
class Waiting:
    """A request that waits; `work` is the caller's."""

    key: Hashable
    rows: int
    arrived: float
    priority: int = 1
    deadline: float = NEVER
    work: Any = None
    order: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that run now, as a batch of `size`: the rows beyond theirs are padding."""

    items: tuple[Waiting, ...]
    rows: int
    size: int


@dataclass(slots=True)
class _Group:
    items: list[Waiting] = field(default_factory=list)
    rows: int = 0


class BatchQueue:
    """The requests of one model that wait. `rows`: of the largest batch that is worth it; that of
    the policy by default."""

    def __init__(self, policy: BatchPolicy, rows: int | None = None) -> None:
        self.policy = policy
        self._rows = rows or policy.rows_max
        self._groups: dict[Hashable, _Group] = {}
        self._count = 0
        self._arrivals = 0
        self._num_deadlines = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether one more would be too many."""
        return self._count >= self.policy.queue_depth_max

    def wait_s(
        self, priority: int, busy_s: float, run_s: Mapping[int, float], instances: int = 1
    ) -> float:
        """How long one more request would wait. `busy_s`: until an instance has time for a batch."""
        size = self._rows
        ahead = sum(
            item.rows
            for group in self._groups.values()
            for item in group.items
            if item.priority <= priority
        )
        return busy_s + ahead // size * run_s.get(size, 0.0) / instances

    def wait_max_s(self, run_s: Mapping[int, float]) -> float:
        """How long a request may be expected to wait."""
        policy = self.policy
        if policy.queue_max_s is not None:
            return policy.queue_max_s
        took = run_s.get(self._rows)
        if took is None:
            return NEVER
        return policy.delay_s + max(QUEUE_MIN_S, QUEUE_BATCHES * took)

    def add(self, item: Waiting) -> None:
        """Let a request wait; the caller has looked at `is_full`."""
        self._arrivals += 1
        item.order = (item.priority, self._arrivals)
        group = self._groups.get(item.key)
        if group is None:
            group = self._groups[item.key] = _Group()
        bisect.insort(group.items, item, key=_order)
        self._enter(group, item, 1)

    def remove(self, item: Waiting) -> bool:
        """Take a request out; False when it does not wait any more."""
        group = self._groups.get(item.key)
        if group is None or item not in group.items:
            return False
        group.items.remove(item)
        self._enter(group, item, -1)
        self._drop_empty(item.key, group)
        return True

    def take_expired(self, now: float) -> list[Waiting]:
        """Take out the requests whose deadline has passed."""
        if not self._num_deadlines:
            return []
        late = [i for g in self._groups.values() for i in g.items if i.deadline <= now]
        for item in late:
            self.remove(item)
        return late

    def take_all(self) -> list[Waiting]:
        """Empty the queue."""
        items = [item for group in self._groups.values() for item in group.items]
        self._groups.clear()
        self._count = self._num_deadlines = 0
        return items

    def take_batch(self, now: float, run_s: Mapping[int, float]) -> Batch | None:
        """The next batch that is due. `run_s`: how long a batch of each size takes, where known."""
        for group in sorted(self._groups.values(), key=_head_order):
            if self._due(group, run_s) <= now:
                return self._cut(group, run_s)
        return None

    def wake_at(self, run_s: Mapping[int, float]) -> float:
        """When a group is due or a deadline passes next, if nothing else happens."""
        due = min((self._due(group, run_s) for group in self._groups.values()), default=NEVER)
        return min(due, self.next_deadline())

    def next_deadline(self) -> float:
        """The first deadline of a request that waits."""
        if not self._num_deadlines:
            return NEVER
        return min(item.deadline for group in self._groups.values() for item in group.items)

    def _due(self, group: _Group, run_s: Mapping[int, float]) -> float:
        if group.rows >= self._rows or group.rows in self.policy.preferred:
            return -NEVER
        oldest = min(item.arrived for item in group.items)
        due = oldest + self.policy.delay_s
        if self._num_deadlines:
            size = _size_for(group.rows, self.policy.sizes)
            first = min(item.deadline for item in group.items)
            due = min(due, first - run_s.get(size, 0.0))
        return due

    def _cut(self, group: _Group, run_s: Mapping[int, float]) -> Batch:
        limit = choose_rows(min(group.rows, self._rows), self.policy, run_s)
        items: list[Waiting] = []
        rows = 0
        for item in group.items:
            if rows + item.rows > limit and items:
                break
            items.append(item)
            rows += item.rows
        del group.items[: len(items)]
        for item in items:
            self._enter(group, item, -1)
        self._drop_empty(items[0].key, group)
        return Batch(tuple(items), rows, _size_for(rows, self.policy.sizes))

    def _enter(self, group: _Group, item: Waiting, sign: int) -> None:
        group.rows += sign * item.rows
        self._count += sign
        if item.deadline != NEVER:
            self._num_deadlines += sign

    def _drop_empty(self, key: Hashable, group: _Group) -> None:
        if not group.items:
            del self._groups[key]


def efficient_rows(policy: BatchPolicy, run_s: Mapping[int, float]) -> int:
    """The smallest size that answers about as many rows per second as any; the largest as long as
    not all times are known.

    >>> efficient_rows(BatchPolicy((1, 2, 4)), {1: 10.0, 2: 12.0, 4: 24.0})
    2
    """
    if not run_s.keys() >= set(policy.sizes) or min(run_s.values()) <= 0.0:
        return policy.rows_max
    best = max(size / run_s[size] for size in policy.sizes)
    return next(s for s in policy.sizes if s / run_s[s] >= EFFICIENT_SHARE * best)


def choose_rows(rows: int, policy: BatchPolicy, run_s: Mapping[int, float]) -> int:
    """How many of `rows` to run now: all of them, padded, or only as many as fill a smaller batch.

    >>> policy = BatchPolicy((1, 8, 16))
    >>> run_s = {1: 0.2, 8: 0.8, 16: 1.6}
    >>> choose_rows(9, policy, run_s)    # all in 1.6 s, or 8 and then 1 in 1.0 s
    8
    >>> choose_rows(15, policy, run_s)   # 1.6 s either way
    15
    """
    if rows in policy.preferred:
        return rows
    smaller = [size for size in policy.sizes if size < rows]
    if not smaller:
        return rows
    down = smaller[-1]
    padded, rest = _size_for(rows, policy.sizes), _size_for(rows - down, policy.sizes)
    if padded == rows or not {padded, down, rest} <= run_s.keys():
        return rows
    return rows if run_s[padded] <= run_s[down] + run_s[rest] else down


def _size_for(rows: int, sizes: tuple[int, ...]) -> int:
    index = bisect.bisect_left(sizes, rows)
    return sizes[min(index, len(sizes) - 1)]


def _order(item: Waiting) -> tuple[int, int]:
    return item.order


def _head_order(group: _Group) -> tuple[int, int]:
    return group.items[0].order
