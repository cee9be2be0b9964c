"""Groups, sizes and windows of stripes: pure functions of shapes and caches."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.planner.reach import Reach, end_read, first_read
from colonnade.planner.stripe_body import (
    Body,
    PanelRead,
    StripeCall,
    Tensor,
    measure_windows,
    try_body,
    walk,
)
from colonnade.planner.stripes import Cache, Group, choose_stripe, count_bytes, find_groups

LANES = 64
CACHE = Cache(1 << 20, 32 << 20, 2)


def rows_of(images: int, size: int, span: int = 3, stride: int = 1) -> Reach:
    """A square window with "same" padding on square images."""
    out = -(-size // stride)
    return Reach(LANES, images * out * out, size, size, out, out, stride, span, span // 2)


def tensor(images: int, size: int, features: int) -> Tensor:
    return Tensor(-(-images * size * size // LANES), features * LANES * 4)


def inverted_residual(
    images: int = 16, size: int = 56, weight_bytes: int = 14 << 10
) -> tuple[list[StripeCall], dict[int, Tensor]]:
    """0 -> 24 to 144 -> 1 -> depthwise 3x3 -> 2 -> 144 to 24, residual 0 -> 3."""
    narrow, wide = tensor(images, size, 24), tensor(images, size, 144)
    panels, columns = narrow.panels, images * size * size
    flops = 2 * 24 * 144 * columns
    calls = [
        StripeCall(panels, (PanelRead(0),), frozenset(), (1,), weight_bytes, 0, flops),
        StripeCall(
            panels, (PanelRead(1, rows_of(images, size)),), frozenset(), (2,), 6 << 10, 0,
            2 * 9 * 144 * columns,
        ),
        StripeCall(panels, (PanelRead(2), PanelRead(0)), frozenset(), (3,), weight_bytes, 0, flops),
    ]  # fmt: skip
    return calls, {0: narrow, 1: wide, 2: wide, 3: narrow}


def groups_of(
    calls: list[StripeCall | None], tensors: Mapping[int, Tensor], cache: Cache = CACHE
) -> tuple[Group, ...]:
    return find_groups(calls, tensors, {max(tensors)}, cache)


def test_an_inverted_residual_is_one_group() -> None:
    calls, tensors = inverted_residual()
    (group,) = groups_of([*calls], tensors)
    assert (group.first, group.last, group.panels) == (0, 3, 784)
    assert group.segments % CACHE.threads == 0
    assert group.recomputed == 0.0  # 16 segments of 16 images: borders have no halo
    assert {window.storage for window in group.windows} == {1, 2}
    assert group.window_bytes <= 0.6 * CACHE.l2_bytes


def test_saved_bytes_are_what_stays_inside() -> None:
    calls, tensors = inverted_residual()
    (group,) = groups_of([*calls], tensors)
    inside = 2 * (tensors[1].nbytes + tensors[2].nbytes)
    residual = tensors[0].nbytes  # read by two calls, once by the stripe
    assert group.saved_bytes == inside + residual


@pytest.mark.parametrize("images", [1, 2])
def test_what_fits_the_caches_stays_as_it_is(images: int) -> None:
    calls, tensors = inverted_residual(images, 7)
    assert groups_of([*calls], tensors) == ()


def test_few_panels_are_left_to_row_blocks() -> None:
    calls, tensors = inverted_residual(1, 14)
    assert tensors[0].panels == 4
    assert groups_of([*calls], tensors, Cache(64 << 10, 0, 4)) == ()


def test_a_cache_that_is_too_small() -> None:
    calls, tensors = inverted_residual()
    assert groups_of([*calls], tensors, Cache(128 << 10, 0, 2)) == ()


def test_much_arithmetic_hides_the_bytes() -> None:
    calls, tensors = inverted_residual()
    slow = [
        StripeCall(c.panels, c.reads, c.whole, c.writes, c.weight_bytes, 0, 1000 * c.flops)
        for c in calls
    ]
    assert groups_of([*slow], tensors) == ()


def test_weights_that_spill_are_counted() -> None:
    choices = []
    for weight_bytes in (1 << 10, 14 << 10, 200 << 10, 500 << 10):
        calls, tensors = inverted_residual(weight_bytes=weight_bytes)
        body = try_body(calls, 0, 3, {0: 2, 1: 1, 2: 2, 3: 3}, tensors)
        assert body is not None
        choices.append(choose_stripe(body, tensors, CACHE))
    few, some, many, most = choices
    assert few
    assert some
    assert many
    assert few.cost < some.cost < many.cost
    assert few.saved_bytes == some.saved_bytes == many.saved_bytes > 0  # they stay in L2
    assert most is None  # weights read once a stripe are more than what stays inside


def test_a_larger_cache_takes_longer_stripes() -> None:
    calls, tensors = inverted_residual()
    sizes = [
        groups_of([*calls], tensors, Cache(l2 << 20, 32 << 20, 2))[0].stripe_panels
        for l2 in (1, 2, 4)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


def test_a_call_that_cannot_be_striped_cuts() -> None:
    calls, tensors = inverted_residual()
    assert groups_of([calls[0], None, *calls[1:]], tensors) != ()
    assert groups_of([calls[0], None, calls[1], None, calls[2]], tensors) == ()


def test_a_value_that_is_read_outside_ends_a_group() -> None:
    calls, tensors = inverted_residual()
    groups = find_groups(calls, tensors, {1, 3}, CACHE)
    assert all(group.first > 0 for group in groups)
    body = try_body(calls, 0, 3, {0: 2, 1: 1, 2: 3, 3: 3}, tensors)
    assert body is not None
    assert body.finals == {2, 3}  # 2 is read without a halo by the last call


def test_a_value_that_is_read_whole_ends_a_group() -> None:
    calls, tensors = inverted_residual()
    last = StripeCall(calls[2].panels, calls[2].reads[1:], frozenset({2}), (3,))
    assert try_body([*calls[:2], last], 0, 3, {0: 2, 1: 1, 2: 2, 3: 3}, tensors) is None


def test_final_outputs_have_the_same_panels() -> None:
    calls, tensors = inverted_residual()
    half = StripeCall(196, (PanelRead(2, rows_of(16, 56, 3, 2)),), frozenset(), (4,))
    tensors[4] = Tensor(196, 1024)
    used = {0: 2, 1: 1, 2: 3, 3: 9, 4: 9}
    assert try_body([*calls, half], 0, 4, used, tensors) is None


def test_starts_and_ends_of_a_halo() -> None:
    calls, tensors = inverted_residual(2, 64)  # one row is one panel
    body = try_body(calls, 0, 3, {0: 2, 1: 1, 2: 2, 3: 3}, tensors)
    assert body is not None
    assert body.starts(10) == [9, 10, 10]
    assert body.ends(10) == [11, 10, 10]
    assert body.starts(64) == [64, 64, 64]  # the second image starts here
    assert body.ends(64) == [64, 64, 64]
    assert measure_windows(body, 2, 4) == ({1: 4, 2: 2}, {1})


def test_bytes_of_a_call_alone() -> None:
    calls, tensors = inverted_residual()
    found = count_bytes(calls[0], tensors, CACHE)
    weights = 2 * calls[0].weight_bytes
    assert found.nbytes == tensors[0].nbytes + tensors[1].nbytes + weights
    assert count_bytes(calls[0], tensors, Cache(1 << 30, 0, 2)).nbytes == weights


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    """Chains of same-size and strided windows, with shortcuts."""
    size, images = draw(st.integers(3, 40)), draw(st.integers(1, 4))
    calls: list[StripeCall] = []
    tensors = {0: tensor(images, size, 1)}
    for i in range(draw(st.integers(2, 6))):
        span, stride = draw(st.sampled_from([(1, 1), (3, 1), (5, 1), (3, 2), (1, 2)]))
        reach = rows_of(images, size, span, stride) if (span, stride) != (1, 1) else None
        reads = [PanelRead(i, reach)]
        size = -(-size // stride)
        made = tensor(images, size, 1)
        if stride == 1 and i and tensors[i - 1].panels == made.panels:
            reads.append(PanelRead(i - 1))
        tensors[i + 1] = made
        calls.append(StripeCall(made.panels, tuple(reads), frozenset(), (i + 1,)))
    last_use = {s: len(calls) - 1 for s in tensors} | {len(calls): len(calls)}
    body = try_body(calls, 0, len(calls), last_use, tensors)
    assert body is not None
    return body


@settings(deadline=None, max_examples=150)
@given(bodies(), st.integers(1, 9), st.integers(1, 5))
def test_a_walk_computes_what_is_read_once(body: Body, stripe_panels: int, segments: int) -> None:
    segments = min(segments, body.panels)
    capacity, _ = measure_windows(body, stripe_panels, segments)
    for number in range(segments):
        segment = (body.panels * number // segments, body.panels * (number + 1) // segments)
        held = {storage: range(0) for storage in capacity}
        finished = segment[0]
        for done, ends in walk(body, segment, stripe_panels):
            for c, call in enumerate(body.calls):
                if done[c] == ends[c]:
                    continue
                for read in call.reads:
                    if read.storage in held:
                        needed = range(
                            first_read(read.reach, done[c]), end_read(read.reach, ends[c])
                        )
                        window = held[read.storage]
                        assert window.start <= needed.start
                        assert needed.stop <= window.stop
                (storage,) = call.writes
                if storage in held:
                    kept = body.kept(storage, c, done)
                    held[storage] = range(kept, ends[c])
                    assert len(held[storage]) <= capacity[storage]
                else:
                    assert done[c] == finished
                    finished = ends[c]
        assert finished == segment[1]
