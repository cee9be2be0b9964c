"""The rule that gives streams to requests, without a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.engine.scheduler import Stream, Streams, assign, cut_streams
from colonnade.errors import InputError

FOUR_SINGLE = cut_streams("single_stream", None, [4])
FOUR_MULTI = cut_streams("multi_stream", None, [4])
FOUR_ELASTIC = cut_streams("elastic", None, [4])


@pytest.mark.parametrize(
    ("scheduler", "streams", "domains", "expected"),
    [
        ("single_stream", None, [4], [4]),
        ("single_stream", None, [4, 4], [8]),
        ("single_stream", 1, [4], [4]),
        ("multi_stream", None, [4], [1, 1, 1, 1]),
        ("multi_stream", 2, [4], [2, 2]),
        ("multi_stream", 3, [8], [3, 3, 2]),
        ("multi_stream", 1, [2, 2], [4]),
        ("elastic", None, [4], [4]),
        ("elastic", None, [4, 3], [4, 3]),
        ("elastic", 2, [4], [2, 2]),
    ],
)
def test_cuts(scheduler: Any, streams: int | None, domains: list[int], expected: list[int]) -> None:
    cut = cut_streams(scheduler, streams, domains)
    assert [stream.count for stream in cut.streams] == expected
    assert _threads(cut.streams) == list(range(sum(domains)))
    assert cut.threads == max(expected)
    assert cut.is_split == (scheduler == "elastic")


@pytest.mark.parametrize(
    ("scheduler", "streams", "text"),
    [
        ("single_stream", 2, "streams=2: single_stream has 1 to 1 streams on 4 threads"),
        ("multi_stream", 5, "streams=5: multi_stream has 1 to 4 streams on 4 threads"),
        ("elastic", 0, "streams=0: elastic has 1 to 4 streams on 4 threads"),
        ("async", None, "scheduler='async': the schedulers are single_stream, multi_stream, ela"),
    ],
)
def test_refuses(scheduler: Any, streams: int | None, text: str) -> None:
    with pytest.raises(InputError, match=text):
        cut_streams(scheduler, streams, [4])


def test_thread_counts_a_request_may_get() -> None:
    assert cut_streams("single_stream", None, [4]).thread_counts == (4,)
    assert cut_streams("multi_stream", 3, [8]).thread_counts == (2, 3)
    assert cut_streams("elastic", None, [4, 2]).thread_counts == (1, 2, 4)


def test_measurements_take_a_widest_stream_whole() -> None:
    assert cut_streams("multi_stream", 3, [8]).widest.streams == (Stream(0, 3), Stream(3, 3))
    assert not FOUR_ELASTIC.widest.is_split
    assert assign([FOUR_ELASTIC.widest], [True, False, True, True]) == []


def test_single_stream_takes_all_threads_or_waits() -> None:
    assert assign([FOUR_SINGLE, FOUR_SINGLE], [True] * 4) == [Stream(0, 4)]
    assert assign([FOUR_SINGLE], [True, True, False, True]) == []


def test_multi_stream_takes_the_first_free_group() -> None:
    pairs = cut_streams("multi_stream", 2, [4])
    assert assign([pairs] * 3, [True] * 4) == [Stream(0, 2), Stream(2, 2)]
    assert assign([pairs], [True, False, True, True]) == [Stream(2, 2)]
    assert assign([pairs], [True, False, False, True]) == []


def test_elastic_gives_a_lone_request_a_whole_domain() -> None:
    assert assign([FOUR_ELASTIC], [True] * 4) == [Stream(0, 4)]
    domains = cut_streams("elastic", None, [2, 4])
    assert assign([domains], [True] * 6) == [Stream(2, 4)]


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [(2, [2, 2]), (3, [2, 1, 1]), (4, [1, 1, 1, 1]), (9, [1, 1, 1, 1])],
)
def test_elastic_divides_a_domain_between_those_that_wait(
    waiting: int, expected: list[int]
) -> None:
    assigned = assign([FOUR_ELASTIC] * waiting, [True] * 4)
    assert [stream.count for stream in assigned] == expected


def test_elastic_gives_each_domain_to_one_before_it_divides() -> None:
    domains = cut_streams("elastic", None, [2, 2])
    assert assign([domains] * 2, [True] * 4) == [Stream(0, 2), Stream(2, 2)]


def test_elastic_stays_inside_a_domain() -> None:
    domains = cut_streams("elastic", None, [2, 2])
    assert assign([domains], [False, True, True, False]) == [Stream(1, 1)]


def test_elastic_gives_what_is_free_and_no_more() -> None:
    assert assign([FOUR_ELASTIC], [False, False, True, True]) == [Stream(2, 2)]
    assert assign([FOUR_ELASTIC], [False] * 4) == []


def test_nobody_overtakes() -> None:
    """The second would fit; it came later."""
    assert assign([FOUR_SINGLE, FOUR_MULTI], [True, False, True, True]) == []


def test_engines_with_different_schedulers_share_a_queue() -> None:
    assert assign([FOUR_MULTI, FOUR_ELASTIC], [True] * 4) == [Stream(0, 1), Stream(1, 3)]


def _threads(streams: Sequence[Stream]) -> list[int]:
    return [thread for stream in streams for thread in stream.threads]


@st.composite
def _situations(draw: st.DrawFn) -> tuple[list[Streams], list[bool]]:
    domains = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    threads = sum(domains)
    cuts = [
        cut_streams("single_stream", None, domains),
        cut_streams("multi_stream", draw(st.integers(1, threads)), domains),
        cut_streams("elastic", None, domains),
        cut_streams("elastic", draw(st.integers(1, threads)), domains),
    ]
    queue = draw(st.lists(st.sampled_from(cuts), max_size=8))
    return queue, draw(st.lists(st.booleans(), min_size=threads, max_size=threads))


@settings(deadline=None)
@given(_situations())
def test_no_thread_is_given_twice_or_taken_from_another(
    situation: tuple[list[Streams], list[bool]],
) -> None:
    queue, free = situation
    threads = _threads(assign(queue, free))
    assert len(set(threads)) == len(threads)
    assert all(free[thread] for thread in threads)


@settings(deadline=None)
@given(_situations())
def test_every_stream_is_one_that_the_engine_has_or_a_part(
    situation: tuple[list[Streams], list[bool]],
) -> None:
    queue, free = situation
    for wanted, stream in zip(queue, assign(queue, free), strict=False):
        assert stream.count > 0
        if wanted.is_split:
            assert any(set(stream.threads) <= set(own.threads) for own in wanted.streams)
        else:
            assert stream in wanted.streams


@settings(deadline=None)
@given(_situations())
def test_a_queue_always_moves_on(situation: tuple[list[Streams], list[bool]]) -> None:
    """Whatever the head wants, it gets something once everything is free: nobody waits for ever."""
    queue, free = situation
    if queue:
        assert assign(queue, [True] * len(free))
