"""The body of a stripe: calls, who reads what they make, and the walk over their panels.

The other side of `native/exec/stripe.h`: `Body.starts`, `Body.ends` and `walk` are what the executor
does, here to size its windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from colonnade.planner.memory import Lifetime, place_buffers
from colonnade.planner.reach import Reach, end_read, first_read

WARM_UP_MAX = 64
"""As in native/exec/stripe.h."""


@dataclass(frozen=True, slots=True)
class PanelRead:
    """An operand that is read panel by panel."""

    storage: int
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class StripeCall:
    """What matters of a call here; storages are numbers."""

    panels: int
    reads: tuple[PanelRead, ...]
    whole: frozenset[int]
    """Storages that it reads as a whole."""
    writes: tuple[int, ...]
    weight_bytes: int = 0
    scratch_bytes: int = 0
    flops: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A storage; one in rows counts as its bytes over the panels of the call that uses it."""

    panels: int
    panel_bytes: int
    in_rows: bool = False

    @property
    def nbytes(self) -> int:
        """All of it."""
        return self.panels * self.panel_bytes


@dataclass(frozen=True, slots=True)
class Window:
    """`capacity` panels of a storage at `offset` of the thread's windows."""

    storage: int
    capacity: int
    offset: int


@dataclass(frozen=True)
class Body:
    """Consecutive calls that may be a group: who reads what they make for each other."""

    first: int
    calls: tuple[StripeCall, ...]
    readers: Mapping[int, tuple[tuple[int, Reach | None], ...]]
    """Storage made inside: (call, reach) of its readers inside."""
    finals: frozenset[int]
    """Storages made here and read outside."""
    outside: frozenset[int]
    """Storages read by panels and made before."""

    @property
    def panels(self) -> int:
        """Of the final outputs."""
        return next(call.panels for call in self.calls if self.finals & set(call.writes))

    def starts(self, first: int) -> list[int]:
        """The first panel of each call that final outputs from `first` on need."""
        starts = [first] * len(self.calls)
        for c in reversed(range(len(self.calls))):
            call = self.calls[c]
            needs = [first] if self.finals & set(call.writes) else []
            for storage in call.writes:
                needs += [first_read(reach, starts[r]) for r, reach in self.readers[storage]]
            starts[c] = min(needs)
        return starts

    def ends(self, end: int) -> list[int]:
        """One past the last panel of each call that final outputs before `end` need."""
        ends = [0] * len(self.calls)
        for c in reversed(range(len(self.calls))):
            call = self.calls[c]
            needs = [end] if self.finals & set(call.writes) else [0]
            for storage in call.writes:
                needs += [end_read(reach, ends[r]) for r, reach in self.readers[storage]]
            ends[c] = max(needs)
        return ends

    def kept(self, storage: int, maker: int, done: Sequence[int]) -> int:
        """The first panel of a storage that its readers still need."""
        return min(done[maker], *(first_read(reach, done[r]) for r, reach in self.readers[storage]))


def try_body(
    calls: Sequence[StripeCall | None],
    first: int,
    last: int,
    last_use: Mapping[int, int],
    tensors: Mapping[int, Tensor],
) -> Body | None:
    """Calls first..last as a group's body, or None where they cannot be one."""
    own = tuple(call for call in calls[first:last] if call is not None)
    made = [storage for call in own for storage in call.writes]
    readers: dict[int, list[tuple[int, Reach | None]]] = {storage: [] for storage in made}
    outside: set[int] = set()
    for c, call in enumerate(own):
        if call.whole & readers.keys() or not call.writes:
            return None
        for read in call.reads:
            if read.storage in readers:
                readers[read.storage].append((c, read.reach))
            else:
                outside.add(read.storage)
    finals = frozenset(s for s in made if last_use[s] >= last or not readers[s])
    if len(made) != len(readers) or len(finals) == len(made):
        return None
    if len({call.panels for call in own if finals & set(call.writes)}) != 1:
        return None
    if any(tensors[s].in_rows for s in readers if readers[s]):
        return None
    body = Body(first, own, {s: tuple(r) for s, r in readers.items()}, finals, frozenset(outside))
    return body if _writes_own_panels(body) else None


def _writes_own_panels(body: Body) -> bool:
    """Final outputs that are read inside too must not be needed beyond a segment's own panels."""
    has_halo = [False] * len(body.calls)
    for c in reversed(range(len(body.calls))):
        writes = body.calls[c].writes
        has_halo[c] = any(reach or has_halo[r] for s in writes for r, reach in body.readers[s])
        if has_halo[c] and body.finals & set(writes):
            return False
    return True


def place_windows(
    body: Body, stripe_panels: int, segments: int, tensors: Mapping[int, Tensor]
) -> tuple[tuple[Window, ...], int]:
    """Exact windows, and the bytes of all. Those that keep nothing for later share bytes."""
    capacity, carried = measure_windows(body, stripe_panels, segments)
    maker = {s: c for c, call in enumerate(body.calls) for s in call.writes}
    lives = []
    for storage, panels in capacity.items():
        last = max(r for r, _ in body.readers[storage])
        span = (0, len(body.calls)) if storage in carried else (maker[storage], last)
        lives.append(Lifetime(panels * tensors[storage].panel_bytes, *span))
    offsets, window_bytes = place_buffers(lives)
    found = zip(capacity.items(), offsets, strict=True)
    return tuple(Window(s, panels, offset) for (s, panels), offset in found), window_bytes


def measure_windows(
    body: Body, stripe_panels: int, segments: int
) -> tuple[dict[int, int], set[int]]:
    """Panels that the window of each inner storage must hold, and which keep some for later."""
    inner = [
        (s, c) for c, call in enumerate(body.calls) for s in call.writes if s not in body.finals
    ]
    capacity = {storage: 1 for storage, _ in inner}
    carried: set[int] = set()
    for number in range(segments):
        segment = (body.panels * number // segments, body.panels * (number + 1) // segments)
        for done, ends in walk(body, segment, stripe_panels):
            for storage, maker in inner:
                kept = body.kept(storage, maker, done)
                capacity[storage] = max(capacity[storage], ends[maker] - kept)
                if kept < done[maker]:
                    carried.add(storage)
    return capacity, carried


def walk(
    body: Body, segment: tuple[int, int], stripe_panels: int
) -> Iterator[tuple[list[int], list[int]]]:
    """(done, ends) of every stripe of a segment, as native/exec/stripe.cc walks it."""
    first, last = segment
    done = body.starts(first)
    end = first
    for _ in range(WARM_UP_MAX):
        if end <= 0 or not any(e > d for d, e in zip(done, body.ends(end), strict=True)):
            break
        end -= stripe_panels
    while end < last:
        end = min(end + stripe_panels, last)
        ends = [max(d, e) for d, e in zip(done, body.ends(end), strict=True)]
        yield done, ends
        done = ends


@dataclass(frozen=True, slots=True)
class BodyBytes:
    """What one stripe of a body holds in cache."""

    panels: int
    """All panels that it touches."""
    peak: int
    """The most panels that live during one call, and its scratch."""
    halos: int
    """Panels that the next stripe reads again."""


def body_bytes(
    body: Body, border: int, stripe_panels: int, tensors: Mapping[int, Tensor]
) -> BodyBytes:
    """For a stripe in the middle of a segment that starts at panel `border`."""
    done = body.ends(border)
    ends = body.ends(border + stripe_panels)
    lives: list[Lifetime] = []
    for c, call in enumerate(body.calls):
        for storage in call.writes:
            kept = body.kept(storage, c, done) if body.readers[storage] else done[c]
            uses = [c, *(r for r, _ in body.readers[storage])]
            span = (0, len(body.calls)) if kept < done[c] else (c, max(uses))
            lives.append(Lifetime((ends[c] - kept) * tensors[storage].panel_bytes, *span))
    for storage in body.outside:
        reads = [
            (c, first_read(read.reach, done[c]), end_read(read.reach, ends[c]))
            for c, call in enumerate(body.calls)
            for read in call.reads
            if read.storage == storage
        ]
        count = max(end for _, _, end in reads) - min(first for _, first, _ in reads)
        span = (min(c for c, _, _ in reads), max(c for c, _, _ in reads))
        lives.append(Lifetime(count * tensors[storage].panel_bytes, *span))
    live = [
        sum(life.nbytes for life in lives if life.first <= c <= life.last) + call.scratch_bytes
        for c, call in enumerate(body.calls)
    ]
    halos = sum(
        (end_read(read.reach, done[c]) - first_read(read.reach, done[c]))
        * tensors[read.storage].panel_bytes
        for c, call in enumerate(body.calls)
        for read in call.reads
    )
    return BodyBytes(sum(life.nbytes for life in lives), max(live), halos)
