"""The batching rule, with a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.serve.batcher import (
    NEVER,
    Batch,
    BatchPolicy,
    BatchQueue,
    Waiting,
    choose_rows,
    efficient_rows,
)

POLICY = BatchPolicy(sizes=(1, 2, 4, 8), delay_s=0.5, queue_depth_max=16)


def add(queue: BatchQueue, *rows: int, at: float = 0.0, **named: object) -> list[Waiting]:
    items = [Waiting("key", count, at, **named) for count in rows]  # type: ignore[arg-type]
    for item in items:
        queue.add(item)
    return items


def taken(queue: BatchQueue, now: float) -> Batch:
    batch = queue.take_batch(now, {})
    assert batch is not None
    return batch


def test_a_request_waits_for_others_as_long_as_it_may() -> None:
    queue = BatchQueue(POLICY)
    add(queue, 1)
    assert queue.take_batch(0.49, {}) is None
    assert queue.wake_at({}) == pytest.approx(0.5)
    assert taken(queue, 0.5).size == 1


def test_a_full_batch_does_not_wait() -> None:
    queue = BatchQueue(POLICY)
    add(queue, 4, 3, 1)
    batch = taken(queue, 0.0)
    assert (batch.rows, batch.size, len(queue)) == (8, 8, 0)


def test_a_preferred_size_does_not_wait() -> None:
    queue = BatchQueue(BatchPolicy((1, 2, 4, 8), preferred=(4,), delay_s=0.5))
    add(queue, 3)
    assert queue.take_batch(0.0, {}) is None
    add(queue, 1)
    assert taken(queue, 0.0).size == 4


def test_rows_are_rounded_up_to_a_planned_size() -> None:
    queue = BatchQueue(POLICY)
    add(queue, 2, 1)
    batch = taken(queue, 1.0)
    assert (batch.rows, batch.size) == (3, 4)


def test_a_request_is_never_cut() -> None:
    queue = BatchQueue(POLICY)
    add(queue, 5, 5)
    assert taken(queue, 0.0).rows == 5
    assert len(queue) == 1


def test_urgent_requests_go_first_and_equals_in_order_of_arrival() -> None:
    queue = BatchQueue(BatchPolicy((1,)))
    late = add(queue, 1, 1, priority=5)
    urgent = add(queue, 1, priority=1)
    order = [taken(queue, 0.0).items[0] for _ in range(3)]
    assert order == [*urgent, *late]


def test_other_shapes_are_another_batch() -> None:
    queue = BatchQueue(POLICY)
    queue.add(Waiting("a", 1, 0.0))
    queue.add(Waiting("b", 1, 0.0))
    assert {taken(queue, 1.0).items[0].key for _ in range(2)} == {"a", "b"}


def test_a_full_group_does_not_wait_behind_an_older_one() -> None:
    queue = BatchQueue(POLICY)
    queue.add(Waiting("a", 1, 0.0))
    queue.add(Waiting("b", 8, 0.1))
    assert taken(queue, 0.1).items[0].key == "b"


def test_a_deadline_brings_the_start_forward_by_the_time_of_a_run() -> None:
    queue = BatchQueue(POLICY)
    add(queue, 1, deadline=0.3)
    assert queue.take_batch(0.1, {1: 0.1}) is None
    assert queue.wake_at({1: 0.1}) == pytest.approx(0.2)
    assert queue.take_batch(0.21, {1: 0.1}) is not None


def test_what_is_late_is_taken_out_and_the_rest_stays() -> None:
    queue = BatchQueue(POLICY)
    late = add(queue, 1, deadline=0.3)
    add(queue, 1)
    assert queue.next_deadline() == pytest.approx(0.3)
    assert queue.take_expired(0.3) == late
    assert (len(queue), queue.next_deadline()) == (1, NEVER)


def test_a_request_that_is_dropped_frees_its_place() -> None:
    queue = BatchQueue(BatchPolicy(queue_depth_max=1))
    (item,) = add(queue, 1)
    assert queue.is_full
    assert queue.remove(item)
    assert not queue.remove(item)
    assert not queue.is_full


@pytest.mark.parametrize(
    ("rows", "run_s", "expected"),
    [
        (9, {1: 0.2, 8: 0.8, 16: 1.6}, 8),
        (9, {1: 0.2, 8: 0.8, 16: 0.9}, 9),
        (15, {1: 0.2, 8: 0.8, 16: 1.6}, 15),
        (9, {8: 0.8, 16: 1.6}, 9),
        (9, {}, 9),
        (8, {1: 0.2, 8: 0.8, 16: 1.6}, 8),
    ],
)
def test_padding_only_where_it_costs_less(
    rows: int, run_s: dict[int, float], expected: int
) -> None:
    assert choose_rows(rows, BatchPolicy((1, 8, 16)), run_s) == expected


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 3), st.sampled_from("ab")), max_size=30),
    st.lists(st.integers(0, 29), max_size=10),
)
def test_every_request_leaves_exactly_once(
    requests: list[tuple[int, int, str]], dropped: list[int]
) -> None:
    queue = BatchQueue(POLICY)
    items = [Waiting(key, rows, 0.0, priority) for rows, priority, key in requests]
    for item in items:
        queue.add(item)
    gone = [items[i] for i in set(dropped) if i < len(items) and queue.remove(items[i])]
    run_s = {1: 0.1, 2: 0.15, 4: 0.3, 8: 0.4}
    while (batch := queue.take_batch(1.0, run_s)) is not None:
        assert sum(item.rows for item in batch.items) == batch.rows <= batch.size
        assert len({item.key for item in batch.items}) == 1
        gone += batch.items
    assert len(queue) == 0
    assert sorted(map(id, gone)) == sorted(map(id, items))


RUN_S = {1: 1.0, 2: 1.7, 4: 2.9, 8: 5.8}
"""From 4 on, a larger batch brings nothing."""


def test_batches_are_no_larger_than_what_brings_throughput() -> None:
    queue = BatchQueue(POLICY, efficient_rows(POLICY, RUN_S))
    add(queue, *[1] * 8)
    batch = queue.take_batch(0.0, RUN_S)
    assert batch is not None
    assert (batch.rows, len(queue)) == (4, 4)


def test_a_queue_is_measured_in_time() -> None:
    queue = BatchQueue(POLICY, efficient_rows(POLICY, RUN_S))
    assert queue.wait_s(1, 0.7, RUN_S) == 0.7
    add(queue, 1, 1, 1)
    assert queue.wait_s(1, 0.7, RUN_S) == 0.7  # it is the fourth row of the next batch
    add(queue, 1)
    assert queue.wait_s(1, 0.7, RUN_S) == pytest.approx(0.7 + 2.9)
    assert queue.wait_s(1, 0.7, RUN_S, instances=2) == pytest.approx(0.7 + 2.9 / 2)
    assert queue.wait_s(0, 0.7, RUN_S) == 0.7  # more urgent than all that wait


def test_the_longest_wait_follows_from_what_batches_take() -> None:
    assert BatchQueue(POLICY, efficient_rows(POLICY, RUN_S)).wait_max_s({}) == NEVER
    assert BatchQueue(POLICY, efficient_rows(POLICY, RUN_S)).wait_max_s(RUN_S) == pytest.approx(
        0.5 + 1.25 * 2.9
    )
    told = BatchPolicy(POLICY.sizes, queue_max_s=0.2)
    assert BatchQueue(told, 4).wait_max_s(RUN_S) == 0.2
