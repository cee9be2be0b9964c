"""Requests wait for threads of a runtime and get them; `engine/scheduler.py` decides who.

A caller of `run` waits in its own thread and is then the first thread of its stream. A submitted
request is run by one of a few threads of ours, as many as the runtime has at most, that wait
otherwise. So no more threads work than the runtime has.

Who keeps a thread of the runtime must not wait for what needs it: an operator of the user's that waits
for a submitted request, or callbacks of futures, run by our threads, that wait for streams while all
of our threads do. Both get RunError.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from colonnade.engine.scheduler import Stream, Streams, assign, assign_one
from colonnade.errors import OverloadedError, RunError

Work = Callable[[Any, Stream], Any]
"""Answers a request: gets the owner of its queue and the stream."""
Prepare = Callable[[Any], None]
"""What has to be done before that, without a stream; gets the owner."""

WAITS_IN_OPERATOR = (
    "an operator that runs on threads of this runtime waits for a submitted request, which may need "
    "them; call run there, which goes on with these threads, or give the other engine a runtime of "
    "its own"
)
WAITS_IN_CALLBACK = (
    "a callback of a future waits for this runtime, whose requests may need the thread that it runs "
    "on; call submit there and do not wait, or hand the work to a thread of your own"
)

QUEUE_DEPTH_MAX = 1024
"""Submitted requests of an engine that may wait, by default."""


class _Ticket:
    """A request's place. `stream` is set when its turn comes."""

    __slots__ = ("future", "gate", "prepare", "queue", "stream", "wanted", "work")

    def __init__(self, queue: RequestQueue | None, wanted: Streams) -> None:
        self.queue = queue
        self.wanted = wanted
        self.stream: Stream | None = None
        self.gate: threading.Lock | None = None
        """Held until its turn, by a caller that waits."""
        self.future: Future[Any] | None = None
        self.prepare: Prepare | None = None
        self.work: Work | None = None
        """The last three of a submitted request only."""

    def empty(self) -> None:
        """Let go of the request: its future refers to the ticket."""
        self.future = self.prepare = self.work = None


class RequestFuture(Future[Any]):
    """The answer to a submitted request."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()
        self._dispatcher = dispatcher

    def result(self, timeout: float | None = None) -> Any:
        """As Future.result; RunError from a thread that the request may need."""
        self._verify_wait(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As Future.exception; RunError from a thread that the request may need."""
        self._verify_wait(timeout)
        return super().exception(timeout)

    def _verify_wait(self, timeout: float | None) -> None:
        if timeout is None and not self.done():
            self._dispatcher.verify_may_wait()


class Dispatcher:
    """The queue of a runtime. Threads may call everything at the same time.

    After a fork the child starts with an empty queue; the requests are the parent's.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._reset()
        _DISPATCHERS.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._free = [True] * self.threads
        self._waiting: deque[_Ticket] = deque()
        self._preparing: deque[_Ticket] = deque()
        self._held = threading.local()
        """`stream` that a thread has, and `is_worker`: one of ours."""
        self._num_handed = 0
        """Requests that have a stream and wait for one of our threads."""
        self._num_kept = 0
        """Threads of ours that wait for a stream, in callbacks."""
        self._workers: ThreadPoolExecutor | None = None
        self._builder: ThreadPoolExecutor | None = None

    def hold(self, wanted: Streams, queue: RequestQueue | None = None) -> Hold:
        """Wait for a stream, keep it for a `with` block. A thread that holds one already (an
        operator of the user's that runs another engine) goes on with that."""
        return Hold(self, wanted, queue)

    def try_hold(self, wanted: Streams, queue: RequestQueue) -> Hold | None:
        """As hold, of a stream that is free now; None where there is none, or others wait."""
        if getattr(self._held, "stream", None) is not None:
            return None
        with self._lock:
            queue.verify_open()
            stream = self._try_take(wanted)
        return None if stream is None else Hold(self, wanted, queue, stream)

    def submit(
        self, queue: RequestQueue, future: Future[Any], work: Work, prepare: Prepare | None = None
    ) -> None:
        """Run `work` when its turn comes, and give its answer to `future`. With `prepare`, its turn
        comes after that, which one thread beside the streams runs. Raises OverloadedError."""
        ticket = _Ticket(queue, queue.streams)
        ticket.future, ticket.work, ticket.prepare = future, work, prepare
        with self._lock:
            queue.verify_open()
            if prepare is None:
                ticket.stream = self._try_take(ticket.wanted)
            if ticket.stream is None:
                queue.verify_room()
                queue.num_waiting += 1
                (self._waiting if prepare is None else self._preparing).append(ticket)
        future.add_done_callback(lambda done: done.cancelled() and self._withdraw([ticket]))
        if prepare is not None:
            self._hand_over(ticket)
        elif ticket.stream is not None:
            self._start([ticket])

    def close(self, queue: RequestQueue) -> None:
        """Take the queue's requests out: their futures are cancelled, their callers get RunError."""
        with self._lock:
            queue.is_closed = True
            mine = [t for t in (*self._waiting, *self._preparing) if t.queue is queue]
        self._withdraw(mine)

    def verify_may_wait(self) -> None:
        """Raise RunError when this thread is one that submitted requests may need."""
        if getattr(self._held, "stream", None) is not None:
            raise RunError(WAITS_IN_OPERATOR)
        if self._is_worker():
            raise RunError(WAITS_IN_CALLBACK)

    def _is_worker(self) -> bool:
        return bool(getattr(self._held, "is_worker", False))

    def _acquire(self, wanted: Streams, queue: RequestQueue | None) -> Stream:
        is_worker = self._is_worker()
        with self._lock:
            if queue is not None:
                queue.verify_open()
            stream = self._try_take(wanted)
            if stream is not None:
                return stream
            if is_worker:
                self._keep_worker()
            ticket = _Ticket(queue, wanted)
            ticket.gate = threading.Lock()
            ticket.gate.acquire()
            self._waiting.append(ticket)
        try:
            self._wait(ticket, ticket.gate)
        finally:
            if is_worker:
                with self._lock:
                    self._num_kept -= 1
        if ticket.stream is None:
            raise RunError("the engine was closed before this request ran")
        return ticket.stream

    def _keep_worker(self) -> None:
        """One of our threads is about to wait. Not the last one, when requests before it need one."""
        needs_one = self._num_handed > 0 or any(t.future is not None for t in self._waiting)
        if needs_one and self._num_kept + 1 >= self.threads:
            raise RunError(WAITS_IN_CALLBACK)
        self._num_kept += 1

    def _wait(self, ticket: _Ticket, gate: threading.Lock) -> None:
        try:
            gate.acquire()  # without the GIL
        except BaseException:  # interrupted by a signal
            if not self._withdraw([ticket]) and ticket.stream is not None:
                self._start(self._give_back(ticket.stream))
            raise

    def _try_take(self, wanted: Streams) -> Stream | None:
        """A stream at once; never before a request that waits."""
        if self._waiting:
            return None
        stream = assign_one(wanted, self._free)
        if stream is not None:
            self._mark(stream, is_free=False)
        return stream

    def _mark(self, stream: Stream, *, is_free: bool) -> None:
        self._free[stream.first : stream.first + stream.count] = [is_free] * stream.count

    def _give_back(self, stream: Stream) -> list[_Ticket]:
        """Free a stream's threads; the requests whose turn it is now."""
        with self._lock:
            self._mark(stream, is_free=True)
            return self._advance() if self._waiting else []

    def _advance(self) -> list[_Ticket]:
        head = list(islice(self._waiting, self.threads))
        streams = assign([ticket.wanted for ticket in head], self._free)
        for ticket, stream in zip(head, streams, strict=False):
            self._waiting.popleft()
            _leave(ticket)
            ticket.stream = stream
            self._mark(stream, is_free=False)
        return head[: len(streams)]

    def _withdraw(self, tickets: Sequence[_Ticket]) -> list[_Ticket]:
        """Take out of the queue those of the tickets that still wait; returns them."""
        leaving = {id(ticket) for ticket in tickets}
        with self._lock:
            out = [t for t in (*self._waiting, *self._preparing) if id(t) in leaving]
            if not out:
                return []
            self._waiting = deque(t for t in self._waiting if id(t) not in leaving)
            self._preparing = deque(t for t in self._preparing if id(t) not in leaving)
            for ticket in out:
                _leave(ticket)
            started = self._advance()
        for ticket in out:
            if ticket.gate is not None:
                ticket.gate.release()
            if ticket.future is not None:
                _cancel(ticket.future)
            ticket.empty()
        self._start(started)
        return out

    def _start(self, tickets: Sequence[_Ticket]) -> None:
        """Let requests run that have got a stream."""
        todo = deque(tickets)
        while todo:
            ticket = todo.popleft()
            if ticket.gate is not None:
                ticket.gate.release()
            elif not self._hand_over(ticket):
                assert ticket.stream is not None
                todo += self._give_back(ticket.stream)

    def _hand_over(self, ticket: _Ticket) -> bool:
        """To one of our threads; False when Python shuts down and takes no new work."""
        with self._lock:
            if self._workers is None:
                self._workers = ThreadPoolExecutor(self.threads, "colonnade")
                self._builder = ThreadPoolExecutor(1, "colonnade-build")
            workers, builder = self._workers, self._builder
            self._num_handed += ticket.stream is not None
        try:
            if ticket.stream is None and builder is not None:
                builder.submit(self._prepare, ticket)
            else:
                workers.submit(self._answer, ticket)
        except RuntimeError:
            with self._lock:
                self._num_handed -= ticket.stream is not None
            if not self._withdraw([ticket]) and ticket.future is not None:
                _cancel(ticket.future)
                ticket.empty()
            return False
        return True

    def _prepare(self, ticket: _Ticket) -> None:
        """The work before a request's turn; then it enters the queue."""
        future, prepare, queue = ticket.future, ticket.prepare, ticket.queue
        owner = None if queue is None else queue.owner()
        if future is None or prepare is None or owner is None:  # cancelled, or the engine is gone
            self._withdraw([ticket])
            return
        try:
            prepare(owner)
        except BaseException as error:  # noqa: BLE001  # it is the future's
            ticket.work = _raise(error)
        del owner
        with self._lock:
            if ticket not in self._preparing:  # cancelled meanwhile
                return
            self._preparing.remove(ticket)
            ticket.stream = self._try_take(ticket.wanted)
            if ticket.stream is not None:
                _leave(ticket)
            else:
                self._waiting.append(ticket)
        if ticket.stream is not None:
            self._start([ticket])

    def _answer(self, ticket: _Ticket) -> None:
        future, work, stream, queue = ticket.future, ticket.work, ticket.stream, ticket.queue
        ticket.empty()
        self._held.is_worker = True
        with self._lock:
            self._num_handed -= 1
        assert future is not None and work is not None
        assert stream is not None and queue is not None
        owner = queue.owner()
        if owner is None:
            future.cancel()
        if not future.set_running_or_notify_cancel():
            self._start(self._give_back(stream))
            return
        answer = failure = None
        self._held.stream = stream
        try:
            answer = work(owner, stream)
        except BaseException as error:  # noqa: BLE001  # it is the future's
            failure = error
        self._held.stream = None
        del owner, work
        self._start(self._give_back(stream))
        try:
            if failure is None:
                future.set_result(answer)
            else:
                future.set_exception(failure)
        finally:
            del future, failure  # its traceback refers to this frame


class Hold:
    """A stream for the length of a `with` block."""

    __slots__ = ("_dispatcher", "_queue", "_stream", "_wanted")

    def __init__(
        self,
        dispatcher: Dispatcher,
        wanted: Streams,
        queue: RequestQueue | None,
        stream: Stream | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._wanted = wanted
        self._queue = queue
        self._stream = stream
        """Ours to give back."""

    def __enter__(self) -> Stream:
        if self._stream is not None:
            self._dispatcher._held.stream = self._stream
            return self._stream
        held: Stream | None = getattr(self._dispatcher._held, "stream", None)
        if held is not None:
            return held
        self._stream = self._dispatcher._acquire(self._wanted, self._queue)
        self._dispatcher._held.stream = self._stream
        return self._stream

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._dispatcher._held.stream = None
            started = self._dispatcher._give_back(self._stream)
            if started:
                self._dispatcher._start(started)


class RequestQueue:
    """One engine's side of a dispatcher: its streams, and how many of its requests may wait."""

    def __init__(self, dispatcher: Dispatcher, streams: Streams, depth_max: int) -> None:
        self.dispatcher = dispatcher
        self.streams = streams
        self.depth_max = depth_max
        self.num_waiting = 0
        """Submitted requests that have not started."""
        self.is_closed = False
        self.owner: Callable[[], object] = lambda: None
        """The engine, or None when it is gone: requests do not keep it."""

    def verify_open(self) -> None:
        """Raise RunError when the engine was closed."""
        if self.is_closed:
            raise RunError("the engine is closed")

    def verify_room(self) -> None:
        """Raise OverloadedError when no more requests may wait."""
        if self.num_waiting >= self.depth_max:
            raise OverloadedError(
                f"{self.num_waiting} requests wait, as many as queue_depth_max allows; try again "
                "when some are done"
            )


def _leave(ticket: _Ticket) -> None:
    """A submitted request that waited does so no more."""
    if ticket.queue is not None and ticket.future is not None:
        ticket.queue.num_waiting -= 1


def _raise(error: BaseException) -> Work:
    """Work that fails so."""

    def fail(_: object, __: Stream) -> None:
        raise error

    return fail


def _cancel(future: Future[Any]) -> None:
    """Cancel a future that nothing has started, and tell those who wait for it."""
    if future.cancel():
        future.set_running_or_notify_cancel()


_DISPATCHERS: weakref.WeakSet[Dispatcher] = weakref.WeakSet()
"""For the fork handler only: a child has none of the threads that may hold the locks."""


def _reset_all() -> None:
    for dispatcher in list(_DISPATCHERS):
        dispatcher._reset()


os.register_at_fork(after_in_child=_reset_all)
