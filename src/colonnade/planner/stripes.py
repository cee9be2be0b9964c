"""Stripes: which calls run depth-wise together, over how many panels at a time.

Start reading at `find_groups`. A group is a run of consecutive calls whose intermediates stay in
windows of a thread (native/exec/stripe.h). Everything here is a pure function of sizes: a plan of
groups is the cheapest cut of the calls, counted in bytes of memory. What L3 or L2 serve, work that
is done twice and threads that wait are counted as the bytes of memory that move in that time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from colonnade.planner.stripe_body import (
    Body,
    BodyBytes,
    StripeCall,
    Tensor,
    Window,
    body_bytes,
    place_windows,
    try_body,
)

HOT_SHARE = 0.6
"""Of L2: what one call's panels and weights may take before they spill."""
STAY_SHARE = 0.9
"""Of L2: what all of a stripe may touch if its weights are to be there for the next one."""
FLOPS_PER_BYTE = {"portable": 1.5, "avx2": 4.0}
"""Operations of a core in the time that it takes a byte from memory."""
FLOPS_PER_BYTE_BEST = 8.0
"""Of the instruction sets that are not listed."""
L3_SHARE = 0.25
"""Of L3: what a call's tensors may take to be read from there."""
WINDOWS_SHARE = 0.5
"""Of L3: what the windows of all threads may take."""
L3_BYTE = 0.15
"""A byte from L3, or one that is moved inside L2, in bytes from memory."""
CALL_BYTES = 4096
"""Starting a call once more."""
GAIN_MIN = 0.08
"""Share of its calls' time that a group must save: much arithmetic on a byte hides what it costs."""
RECOMPUTED_MAX = 0.04
"""Share of the work that may be done twice."""
CALLS_MAX = 32
SAMPLES = ((3, 7), (5, 11), (9, 13))
"""Places in a tensor, as fractions, where a stripe is looked at."""
STRIPE_PANELS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
SEGMENTS_PER_THREAD = (8, 4, 2, 1)
SEGMENTS_MAX = 4096
"""As in native/exec/stripe.h."""


@dataclass(frozen=True, slots=True)
class Cache:
    """The machine."""

    l2_bytes: int
    l3_bytes: int
    threads: int
    flops_per_byte: float = FLOPS_PER_BYTE_BEST


@dataclass(frozen=True, slots=True)
class Group:
    """Calls first..last (last excluded) as one Stripe."""

    first: int
    last: int
    panels: int
    stripe_panels: int
    segments: int
    windows: tuple[Window, ...]
    window_bytes: int
    saved_bytes: int
    """That would go beyond L2 otherwise."""
    recomputed: float
    """Share of the work that is done twice."""


def find_groups(
    calls: Sequence[StripeCall | None],
    tensors: Mapping[int, Tensor],
    kept: Set[int],
    cache: Cache,
) -> tuple[Group, ...]:
    """Groups in order, each worth it. None: a call that cannot be in one. `kept`: outputs."""
    last_use = {s: i for i, call in enumerate(calls) if call for s in _storages(call)}
    last_use |= dict.fromkeys(kept, len(calls))
    groups: list[Group] = []
    for begin, end in _runs(calls):
        for body, choice in _cheapest_cut(calls, begin, end, last_use, tensors, cache):
            groups.append(make_group(body, choice, tensors))
    return tuple(groups)


def _storages(call: StripeCall) -> Iterator[int]:
    yield from call.whole
    yield from call.writes
    yield from (read.storage for read in call.reads)


def _runs(calls: Sequence[StripeCall | None]) -> Iterator[tuple[int, int]]:
    """Maximal runs of calls that may be striped."""
    begin = 0
    for i, call in enumerate((*calls, None)):
        if call is None:
            if i - begin > 1:
                yield begin, i
            begin = i + 1


@dataclass(frozen=True, slots=True)
class StripeChoice:
    """Sizes of a stripe, and what it costs."""

    stripe_panels: int
    segments: int
    recomputed: float
    cost: float
    saved_bytes: int


def _cheapest_cut(
    calls: Sequence[StripeCall | None],
    begin: int,
    end: int,
    last_use: Mapping[int, int],
    tensors: Mapping[int, Tensor],
    cache: Cache,
) -> list[tuple[Body, StripeChoice]]:
    """Cut calls begin..end into groups and calls on their own."""
    best: dict[int, float] = {end: 0.0}
    chosen: dict[int, tuple[Body, StripeChoice] | None] = {}
    for first in reversed(range(begin, end)):
        own = calls[first]
        assert own is not None
        alone = count_bytes(own, tensors, cache).cost
        best[first], chosen[first] = alone + best[first + 1], None
        for last in range(first + 2, min(end, first + CALLS_MAX) + 1):
            body = try_body(calls, first, last, last_use, tensors)
            choice = body and choose_stripe(body, tensors, cache)
            if body and choice and choice.cost + best[last] < best[first]:
                best[first], chosen[first] = choice.cost + best[last], (body, choice)
    groups, at = [], begin
    while at < end:
        found = chosen[at]
        if found:
            groups.append(found)
        at += len(found[0].calls) if found else 1
    return groups


def count_bytes(call: StripeCall, tensors: Mapping[int, Tensor], cache: Cache) -> Traffic:
    """Of a call on its own: its panels when they spill, its weights as read."""
    used = {read.storage for read in call.reads} | {*call.writes}
    panels = _panel_traffic(sum(tensors[s].nbytes for s in used), cache)
    return panels + _weights(call, cache.threads, cache)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes beyond L2, and what they cost in bytes from memory."""

    nbytes: int
    cost: float

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.nbytes + other.nbytes, self.cost + other.cost)


NO_TRAFFIC = Traffic(0, 0.0)


def _panel_traffic(nbytes: int, cache: Cache) -> Traffic:
    """Tensors that are read and written once."""
    if nbytes <= HOT_SHARE * cache.l2_bytes * cache.threads:
        return NO_TRAFFIC
    return Traffic(nbytes, nbytes * (L3_BYTE if nbytes <= L3_SHARE * cache.l3_bytes else 1.0))


def _weights(call: StripeCall, visits: int, cache: Cache) -> Traffic:
    """Weights that fit stay in each thread's L2 during a visit; others are read for every panel."""
    fits = call.weight_bytes <= HOT_SHARE * cache.l2_bytes
    times = min(visits, call.panels) if fits else call.panels
    nbytes = call.weight_bytes * times
    return Traffic(nbytes, nbytes * L3_BYTE)


def choose_stripe(body: Body, tensors: Mapping[int, Tensor], cache: Cache) -> StripeChoice | None:
    """The cheapest sizes, or None when the calls on their own are about as cheap."""
    if body.panels < 2 * cache.threads:
        return None
    alone = sum((count_bytes(call, tensors, cache) for call in body.calls), NO_TRAFFIC)
    borders = sum(tensors[s].nbytes for s in (*body.outside, *body.finals))
    streamed = _panel_traffic(borders, cache)
    work = sum(call.flops for call in body.calls) / cache.flops_per_byte
    limit = alone.cost - GAIN_MIN * (alone.cost + work)
    # What costs little to find out comes first: most bodies are refused.
    if streamed.cost >= limit or _stripe_traffic(body, 1, tensors, cache) is None:
        return None
    cut = _choose_segments(body, cache)
    if cut is None:
        return None
    best: StripeChoice | None = None
    for stripe_panels in STRIPE_PANELS:
        if stripe_panels * cut.segments > body.panels:
            break
        made = _stripe_traffic(body, stripe_panels, tensors, cache)
        if made is None:
            break
        cost = streamed.cost + made.cost + cut.cost
        saved = alone.nbytes - streamed.nbytes - made.nbytes
        if saved > 0 and cost < limit and (best is None or cost <= best.cost):
            best = StripeChoice(stripe_panels, cut.segments, cut.recomputed, cost, saved)
    return best


@dataclass(frozen=True, slots=True)
class _Cut:
    """Segments, and the work that they add in bytes."""

    segments: int
    recomputed: float
    cost: float


def _choose_segments(body: Body, cache: Cache) -> _Cut | None:
    """The cheapest of a few multiples of the threads; None when too much is computed twice."""
    flops = sum(call.flops for call in body.calls)
    best: _Cut | None = None
    for each in SEGMENTS_PER_THREAD:
        segments = each * cache.threads
        if segments > min(body.panels, SEGMENTS_MAX):
            continue
        extra = sum(_halo_flops(body, body.panels * s // segments) for s in range(1, segments))
        if extra > RECOMPUTED_MAX * flops:
            continue
        busiest = max(
            body.panels * (t + 1) // cache.threads - body.panels * t // cache.threads
            for t in range(cache.threads)
        )
        waiting = flops * (busiest * cache.threads / body.panels - 1)
        cost = (extra + waiting) / cache.flops_per_byte
        if best is None or cost < best.cost:
            best = _Cut(segments, extra / max(flops, 1), cost)
    return best


def _halo_flops(body: Body, border: int) -> float:
    """Work that the segments on both sides of a border do."""
    starts, ends = body.starts(border), body.ends(border)
    return sum(
        call.flops * max(end - start, 0) / call.panels
        for call, start, end in zip(body.calls, starts, ends, strict=True)
    )


def _stripe_traffic(
    body: Body, stripe_panels: int, tensors: Mapping[int, Tensor], cache: Cache
) -> Traffic | None:
    """Weights, halos that move and calls that start, stripe by stripe, and windows that leave L2.

    None when L3 is too small for them.
    """
    stripes = -(-body.panels // stripe_panels)
    used = _typical_bytes(body, stripe_panels, tensors)
    if used.peak * cache.threads > WINDOWS_SHARE * cache.l3_bytes:
        return None
    inner = NO_TRAFFIC
    if used.peak > HOT_SHARE * cache.l2_bytes:
        nbytes = sum(_inner_bytes(body, tensors))
        inner = Traffic(nbytes, L3_BYTE * nbytes)
    scratch = max(call.scratch_bytes for call in body.calls)
    weights = sum(call.weight_bytes for call in body.calls)
    stay = used.panels + scratch + weights <= STAY_SHARE * cache.l2_bytes
    visits = cache.threads if stay else stripes
    halos = Traffic(0, 2 * L3_BYTE * used.halos * stripes)  # moved, then unpacked by a kernel
    starts = Traffic(0, float(CALL_BYTES * len(body.calls) * stripes))
    own = (_weights(call, visits, cache) for call in body.calls)
    return sum(own, inner + halos + starts)


def _inner_bytes(body: Body, tensors: Mapping[int, Tensor]) -> Iterator[int]:
    """What intermediates move when their windows leave L2: written once, read by every reader."""
    for storage, readers in body.readers.items():
        if storage not in body.finals:
            yield tensors[storage].nbytes * (1 + len(readers))


def _typical_bytes(body: Body, stripe_panels: int, tensors: Mapping[int, Tensor]) -> BodyBytes:
    """The most at a few places; image borders, which have no halo, are rarely among them."""
    some = [body_bytes(body, body.panels * a // b, stripe_panels, tensors) for a, b in SAMPLES]
    return BodyBytes(
        max(used.panels for used in some),
        max(used.peak for used in some),
        max(used.halos for used in some),
    )


def make_group(body: Body, choice: StripeChoice, tensors: Mapping[int, Tensor]) -> Group:
    """Exact windows, by walking through every segment."""
    windows, window_bytes = place_windows(body, choice.stripe_panels, choice.segments, tensors)
    return Group(
        body.first, body.first + len(body.calls), body.panels, choice.stripe_panels,
        choice.segments, windows, window_bytes, choice.saved_bytes, choice.recomputed,
    )  # fmt: skip
