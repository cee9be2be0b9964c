"""Places in the arena: nothing that lives together overlaps."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.planner.memory import ALIGNMENT, Lifetime, peak_live_bytes, place_buffers


@st.composite
def lifetimes(draw: st.DrawFn) -> Lifetime:
    first = draw(st.integers(0, 20))
    last = first + draw(st.integers(0, 8))
    return Lifetime(draw(st.sampled_from([0, 1, 63, 64, 65, 128, 1000, 4096])), first, last)


def overlaps(a: Lifetime, b: Lifetime) -> bool:
    return a.first <= b.last and b.first <= a.last


@settings(deadline=None, max_examples=300)
@given(st.lists(lifetimes(), max_size=24))
def test_live_buffers_do_not_overlap(lives: Sequence[Lifetime]) -> None:
    offsets, arena_bytes = place_buffers(lives)
    assert len(offsets) == len(lives)
    for i, (life, offset) in enumerate(zip(lives, offsets, strict=True)):
        assert offset % ALIGNMENT == 0
        assert 0 <= offset <= offset + life.nbytes <= arena_bytes
        for other, place in zip(lives[:i], offsets[:i], strict=True):
            apart = offset + life.nbytes <= place or place + other.nbytes <= offset
            assert apart or not overlaps(life, other) or 0 in (life.nbytes, other.nbytes)


@settings(deadline=None, max_examples=300)
@given(st.lists(lifetimes(), max_size=24))
def test_the_arena_lies_between_the_peak_and_the_sum(lives: Sequence[Lifetime]) -> None:
    _, arena_bytes = place_buffers(lives)
    total = sum(-(-life.nbytes // ALIGNMENT) * ALIGNMENT for life in lives)
    steps = range(max((life.last for life in lives), default=0) + 1)
    peak = max(
        sum(
            -(-life.nbytes // ALIGNMENT) * ALIGNMENT
            for life in lives
            if life.first <= step <= life.last
        )
        for step in steps
    )
    assert peak_live_bytes(lives) == peak
    assert peak <= arena_bytes <= total


def test_a_chain_needs_two_buffers() -> None:
    lives = [Lifetime(256, i, i + 1) for i in range(50)]
    assert place_buffers(lives)[1] == 512


def test_nothing_needs_nothing() -> None:
    assert place_buffers([]) == ([], 0)
    assert peak_live_bytes([]) == 0
