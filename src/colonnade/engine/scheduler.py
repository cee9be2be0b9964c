"""Which threads a request runs on: a pure rule over plain data.

Requests wait in one queue in the order of their arrival. The first of them gets its threads as soon
as they are free, then the next; nobody overtakes. What a request may get is its engine's `Streams`:

- single_stream: all threads.
- multi_stream: any one of the groups that the threads are cut into.
- elastic: an even share of the free threads, the requests that wait counted, out of one domain (CPUs
  that share a last-level cache). So a request that waits alone gets all that is free of a domain, and
  several that wait for a domain divide it. A request keeps what it got until it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from colonnade.errors import InputError

Scheduler = Literal["single_stream", "multi_stream", "elastic"]


@dataclass(frozen=True, slots=True)
class Stream:
    """Threads first, first + 1, ... of a runtime that work on one request."""

    first: int
    count: int

    @property
    def threads(self) -> range:
        """Their numbers."""
        return range(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True)
class Streams:
    """What an engine's requests may run on: one of the streams, or a part of one that is split."""

    scheduler: Scheduler
    streams: tuple[Stream, ...]
    is_split: bool = False

    @property
    def threads(self) -> int:
        """Threads of the widest stream, for which plans are made; any number can run them."""
        return max(stream.count for stream in self.streams)

    @property
    def thread_counts(self) -> tuple[int, ...]:
        """Threads that a request may get; where streams are split, only the two ends."""
        counts = {stream.count for stream in self.streams}
        return tuple(sorted(counts | {1} if self.is_split else counts))

    @property
    def widest(self) -> Streams:
        """The widest streams, whole: for measurements of what plans are made for."""
        wide = tuple(stream for stream in self.streams if stream.count == self.threads)
        return replace(self, streams=wide, is_split=False)


def cut_streams(
    scheduler: Scheduler, streams: int | None, threads_by_domain: Sequence[int]
) -> Streams:
    """The streams of a runtime whose threads lie in these domains. `streams`: how many; by default
    one for each thread (multi_stream) or domain (elastic). Raises InputError."""
    threads = sum(threads_by_domain)
    if scheduler not in get_args(Scheduler):
        raise InputError(
            f"scheduler={scheduler!r}: the schedulers are {', '.join(get_args(Scheduler))}"
        )
    most = 1 if scheduler == "single_stream" else threads
    if streams is not None and not 1 <= streams <= most:
        raise InputError(
            f"streams={streams}: {scheduler} has 1 to {most} streams on {threads} threads"
        )
    if scheduler == "single_stream":
        return Streams(scheduler, (Stream(0, threads),))
    if scheduler == "multi_stream":
        return Streams(scheduler, _side_by_side(_deal(threads, streams or threads)))
    counts = threads_by_domain if streams is None else _deal(threads, streams)
    return Streams(scheduler, _side_by_side(counts), is_split=True)


def _deal(threads: int, streams: int) -> list[int]:
    """Threads of each stream; the first ones get the rest."""
    return [threads // streams + (i < threads % streams) for i in range(streams)]


def _side_by_side(counts: Iterable[int]) -> tuple[Stream, ...]:
    made: list[Stream] = []
    first = 0
    for count in counts:
        made.append(Stream(first, count))
        first += count
    return tuple(made)


def assign(queue: Sequence[Streams], free: Sequence[bool]) -> list[Stream]:
    """Streams for the requests at the head of the queue, up to the first one that has to wait.
    `free`: by thread, whether no request holds it."""
    left = list(free)
    assigned: list[Stream] = []
    for position, wanted in enumerate(queue):
        if wanted.is_split:
            waiting = sum(other.is_split for other in queue[position:])
            found = _find_share(wanted.streams, left, waiting)
        else:
            found = _find_whole(wanted.streams, left)
        if found is None:
            break
        left[found.first : found.first + found.count] = [False] * found.count
        assigned.append(found)
    return assigned


def assign_one(wanted: Streams, free: Sequence[bool]) -> Stream | None:
    """As `assign`, of a request that waits alone."""
    if wanted.is_split:
        return _find_share(wanted.streams, free, 1)
    return _find_whole(wanted.streams, free)


def _find_whole(streams: Sequence[Stream], free: Sequence[bool]) -> Stream | None:
    for stream in streams:
        if all(free[stream.first : stream.first + stream.count]):
            return stream
    return None


def _find_share(domains: Sequence[Stream], free: Sequence[bool], waiting: int) -> Stream | None:
    """An even share of all free threads, side by side in one domain: there may be fewer."""
    runs = [run for domain in domains for run in _free_runs(domain, free)]
    if not runs:
        return None
    share = -(-sum(run.count for run in runs) // waiting)
    longest = max(runs, key=lambda run: run.count)  # the first of them
    return Stream(longest.first, min(longest.count, share))


def _free_runs(domain: Stream, free: Sequence[bool]) -> list[Stream]:
    runs: list[Stream] = []
    for thread in domain.threads:
        if not free[thread]:
            continue
        if runs and runs[-1].first + runs[-1].count == thread:
            runs[-1] = replace(runs[-1], count=runs[-1].count + 1)
        else:
            runs.append(Stream(thread, 1))
    return runs
