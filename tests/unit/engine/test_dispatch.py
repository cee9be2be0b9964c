"""The queue of a runtime, with made-up work: order, limits, cancelling, endings."""

from __future__ import annotations

import gc
import os
import signal
import threading
import weakref
from concurrent.futures import CancelledError, Future, wait
from typing import Any

import numpy as np
import pytest

from colonnade.engine.dispatch import Dispatcher, RequestFuture, RequestQueue
from colonnade.engine.scheduler import Scheduler, Stream, cut_streams
from colonnade.errors import OverloadedError, RunError

TIMEOUT_S = 60
"""Nothing here takes long; a hang becomes a failure."""


class Owner:
    """Stands for an engine."""


class Case:
    """A dispatcher with one queue, and work that waits for a signal."""

    def __init__(
        self, threads: int = 1, scheduler: Scheduler = "single_stream", depth_max: int = 100
    ) -> None:
        self.dispatcher = Dispatcher(threads)
        self.streams = cut_streams(scheduler, None, [threads])
        self.queue = RequestQueue(self.dispatcher, self.streams, depth_max)
        self.owner: Owner | None = Owner()
        self.queue.owner = weakref.ref(self.owner)
        self.may_end = threading.Event()
        self.started: list[Any] = []
        self.has_started = threading.Semaphore(0)

    def submit(self, answer: Any = None) -> Future[Any]:
        """A request that waits for `may_end`."""

        def work(_: object, stream: Stream) -> Any:
            self.started.append(answer)
            self.has_started.release()
            assert self.may_end.wait(TIMEOUT_S)
            return stream if answer is None else answer

        future: Future[Any] = Future()
        self.dispatcher.submit(self.queue, future, work)
        return future

    def occupy(self) -> Future[Any]:
        """A request that runs."""
        future = self.submit("first")
        assert self.has_started.acquire(timeout=TIMEOUT_S)
        return future


def test_requests_run_in_the_order_of_their_arrival() -> None:
    case = Case()
    futures = [case.occupy(), *(case.submit(i) for i in range(20))]
    case.may_end.set()
    assert [future.result(TIMEOUT_S) for future in futures[1:]] == list(range(20))
    assert case.started == ["first", *range(20)]


def test_a_caller_and_submitted_requests_share_one_queue() -> None:
    case = Case()
    first, second = case.occupy(), case.submit("second")
    order: list[Any] = []

    def call() -> None:
        with case.dispatcher.hold(case.streams, case.queue):
            order.extend(case.started)

    caller = threading.Thread(target=call)
    caller.start()
    _until_waiting(case, 2)
    third = case.submit("third")
    case.may_end.set()
    caller.join(TIMEOUT_S)
    assert [first.result(TIMEOUT_S), second.result(TIMEOUT_S), third.result(TIMEOUT_S)]
    assert order == ["first", "second"]


def test_as_many_at_once_as_there_are_streams() -> None:
    case = Case(threads=3, scheduler="multi_stream")
    futures = [case.submit() for _ in range(5)]
    for _ in range(3):
        assert case.has_started.acquire(timeout=TIMEOUT_S)
    assert case.queue.num_waiting == 2
    assert {f.running() for f in futures[:3]} == {True}
    assert not any(f.running() for f in futures[3:])
    case.may_end.set()
    assert {f.result(TIMEOUT_S) for f in futures[:3]} == {Stream(i, 1) for i in range(3)}
    assert wait(futures, TIMEOUT_S).not_done == set()


def test_elastic_divides_the_threads_when_requests_queue_up() -> None:
    case = Case(threads=4, scheduler="elastic")
    first = case.submit()
    assert case.has_started.acquire(timeout=TIMEOUT_S)
    others = [case.submit() for _ in range(2)]
    case.may_end.set()
    assert first.result(TIMEOUT_S) == Stream(0, 4)
    assert [f.result(TIMEOUT_S) for f in others] == [Stream(0, 2), Stream(2, 2)]


def test_a_full_queue_refuses() -> None:
    case = Case(depth_max=2)
    futures = [case.occupy(), case.submit(), case.submit()]
    with pytest.raises(OverloadedError, match="2 requests wait, as many as queue_depth_max"):
        case.submit()
    futures[1].cancel()
    futures.append(case.submit())  # the place of the one that went
    case.may_end.set()
    assert wait(futures, TIMEOUT_S).not_done == set()
    case.submit().result(TIMEOUT_S)
    assert case.queue.num_waiting == 0


def test_a_request_that_waits_can_be_cancelled() -> None:
    case = Case()
    first, second, third = case.occupy(), case.submit(2), case.submit(3)
    assert second.cancel()
    assert second.cancelled()
    assert wait([second], TIMEOUT_S).done == {second}
    assert not first.cancel()
    case.may_end.set()
    assert third.result(TIMEOUT_S) == 3
    assert case.started == ["first", 3]
    assert not third.cancel()


def test_cancelling_the_head_lets_the_next_one_run() -> None:
    """One that wants all threads goes; one that wants any free thread need not wait more."""
    case = Case(threads=2, scheduler="multi_stream")
    whole = RequestQueue(case.dispatcher, cut_streams("single_stream", None, [2]), 9)
    whole.owner = case.queue.owner
    case.occupy()
    blocked: Future[Any] = Future()
    case.dispatcher.submit(whole, blocked, lambda _, stream: stream)
    third = case.submit("third")
    assert case.started == ["first"]
    assert blocked.cancel()
    assert case.has_started.acquire(timeout=TIMEOUT_S)
    case.may_end.set()
    assert third.result(TIMEOUT_S) == "third"


def test_an_exception_reaches_its_future_only() -> None:
    case = Case()

    def fail(_: object, __: Stream) -> None:
        raise KeyError("mine")

    case.occupy()
    failing: Future[Any] = Future()
    case.dispatcher.submit(case.queue, failing, fail)
    other = case.submit("other")
    case.may_end.set()
    assert isinstance(failing.exception(TIMEOUT_S), KeyError)
    assert other.result(TIMEOUT_S) == "other"


def test_closing_drops_what_waits_and_lets_the_rest_end() -> None:
    case = Case()
    first, second = case.occupy(), case.submit("second")
    failures: list[BaseException] = []

    def call() -> None:
        try:
            with case.dispatcher.hold(case.streams, case.queue):
                pass
        except RunError as error:
            failures.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    _until_waiting(case, 2)
    case.dispatcher.close(case.queue)
    caller.join(TIMEOUT_S)
    assert "closed before this request ran" in str(failures[0])
    with pytest.raises(CancelledError):
        second.result(TIMEOUT_S)
    assert wait([second], TIMEOUT_S).done == {second}
    with pytest.raises(RunError, match="the engine is closed"):
        case.submit()
    case.may_end.set()
    assert first.result(TIMEOUT_S) == "first"
    case.dispatcher.close(case.queue)


def test_closing_leaves_the_requests_of_other_engines() -> None:
    case = Case()
    other = RequestQueue(case.dispatcher, case.streams, 9)
    other.owner = case.queue.owner
    case.occupy()
    mine: Future[Any] = Future()
    case.dispatcher.submit(other, mine, lambda _, stream: "mine")
    case.dispatcher.close(case.queue)
    case.may_end.set()
    assert mine.result(TIMEOUT_S) == "mine"


def test_requests_of_an_engine_that_is_gone_are_cancelled() -> None:
    case = Case()
    first, second = case.occupy(), case.submit("second")
    case.owner = None
    case.may_end.set()
    assert first.result(TIMEOUT_S) == "first"
    assert wait([second], TIMEOUT_S).done == {second}
    assert second.cancelled()


def test_an_interrupted_caller_leaves_the_queue() -> None:
    case = Case()
    case.occupy()

    def interrupt() -> None:
        _until_waiting(case, 1)
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    # A shell's background jobs start with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt), case.dispatcher.hold(case.streams, case.queue):
            pass
    finally:
        interrupter.join(TIMEOUT_S)
        signal.signal(signal.SIGINT, before)
    assert not case.dispatcher._waiting
    case.may_end.set()
    assert case.submit("next").result(TIMEOUT_S) == "next"


def test_a_thread_that_holds_a_stream_goes_on_with_it() -> None:
    case = Case()
    with case.dispatcher.hold(case.streams) as outer:
        with case.dispatcher.hold(case.streams, case.queue) as inner:
            assert inner is outer
        with case.dispatcher.hold(case.streams) as again:
            assert again is outer
    case.may_end.set()
    assert case.submit().result(TIMEOUT_S) == Stream(0, 1)


def test_work_on_a_stream_may_call_back() -> None:
    case = Case()

    def work(_: object, stream: Stream) -> bool:
        with case.dispatcher.hold(case.streams, case.queue) as inner:
            return inner is stream

    future: Future[Any] = Future()
    case.dispatcher.submit(case.queue, future, work)
    assert future.result(TIMEOUT_S)


def test_work_on_a_stream_does_not_wait_for_requests() -> None:
    case = Case()
    future = RequestFuture(case.dispatcher)
    with case.dispatcher.hold(case.streams):
        case.dispatcher.submit(case.queue, future, lambda owner, stream: "done")
        with pytest.raises(RunError, match="an operator that runs on threads of this runtime"):
            future.result()
        with pytest.raises(RunError, match="call run there"):
            future.exception()
    assert future.result() == "done"
    with case.dispatcher.hold(case.streams):
        assert future.result() == "done"


def test_a_callback_does_not_wait_for_requests_that_need_its_thread() -> None:
    case = Case()
    first, second = case.occupy(), case.submit("second")
    third = RequestFuture(case.dispatcher)
    refused: list[str] = []

    def call(_: object) -> None:
        case.dispatcher.submit(case.queue, third, lambda owner, stream: "third")
        with pytest.raises(RunError) as error:
            third.result()
        refused.append(str(error.value))
        with pytest.raises(RunError) as error, case.dispatcher.hold(case.streams, case.queue):
            pass
        refused.append(str(error.value))

    first.add_done_callback(call)
    case.may_end.set()
    assert second.result(TIMEOUT_S) == "second"
    assert third.result() == "third"
    assert ["a callback of a future" in text for text in refused] == [True, True]


def test_a_callback_may_run_where_nothing_needs_its_thread() -> None:
    case = Case()
    done = threading.Event()
    first = case.occupy()

    def call(_: object) -> None:
        with case.dispatcher.hold(case.streams, case.queue):
            done.set()

    first.add_done_callback(call)
    case.may_end.set()
    assert done.wait(TIMEOUT_S)


def test_preparing_takes_no_stream_and_others_overtake() -> None:
    case = Case()
    may_prepare = threading.Event()
    slow: Future[Any] = Future()
    case.dispatcher.submit(
        case.queue, slow, lambda _, __: "slow", lambda _: may_prepare.wait(TIMEOUT_S)
    )
    case.may_end.set()
    assert case.submit("quick").result(TIMEOUT_S) == "quick"
    assert case.queue.num_waiting == 1
    may_prepare.set()
    assert slow.result(TIMEOUT_S) == "slow"
    assert case.queue.num_waiting == 0


def test_what_fails_while_preparing_reaches_its_future() -> None:
    case = Case()

    def fail(_: object) -> None:
        raise KeyError("mine")

    future: Future[Any] = Future()
    case.dispatcher.submit(case.queue, future, lambda _, __: "never", fail)
    assert isinstance(future.exception(TIMEOUT_S), KeyError)


def test_a_request_is_cancelled_while_it_is_prepared() -> None:
    case = Case()
    is_preparing, may_prepare = threading.Event(), threading.Event()

    def prepare(_: object) -> None:
        is_preparing.set()
        may_prepare.wait(TIMEOUT_S)

    future: Future[Any] = Future()
    case.dispatcher.submit(case.queue, future, lambda _, __: "never", prepare)
    assert is_preparing.wait(TIMEOUT_S)
    assert future.cancel()
    assert case.queue.num_waiting == 0
    may_prepare.set()
    case.may_end.set()
    assert case.submit("next").result(TIMEOUT_S) == "next"
    assert future.cancelled()


def test_an_answer_is_freed_with_its_future() -> None:
    """At once, not at the next garbage collection: answers may be large."""
    case = Case()
    case.may_end.set()
    gc.collect()
    gc.disable()
    try:
        future: Future[Any] = case.submit(np.zeros(3))
        answer = weakref.ref(future.result(TIMEOUT_S))
        case.started.clear()
        case.submit("next").result(TIMEOUT_S)  # the thread has left the first one behind
        del future
        assert answer() is None
    finally:
        gc.enable()


def _until_waiting(case: Case, count: int) -> None:
    """The waiting callers and requests of the dispatcher are `count`."""
    for _ in range(10 * TIMEOUT_S):
        if len(case.dispatcher._waiting) >= count:
            return
        threading.Event().wait(0.1)
    raise AssertionError("nobody waits")
