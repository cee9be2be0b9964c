"""A lean HTTP/1.1 client: keep-alive connections that send prepared bytes and time the answers."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httptools

from colonnade.bench.load.outcome import OK, Failure, Outcome

SWEEP_S = 0.05
"""How often requests are looked over for those out of time."""

ABANDON_AFTER_S = 0.002
"""How long a client that hangs up waits for its answer."""

Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[object]]
Check = Callable[[bytes], bool]


@dataclass(frozen=True)
class PoolOptions:
    """`timeout_s` counts from the intended time; `check` says whether a 200's body is right."""

    connections_max: int = 512
    timeout_s: float = 30.0
    check: Check | None = None


@dataclass(slots=True)
class _Flight:
    """A request on its way."""

    intended_s: float
    sent_s: float = 0.0
    is_abandoned: bool = False
    is_retried: bool = False


class Pool:
    """Sends requests over as many connections as are busy at once, `connections_max` at most.

    With all of them busy a request waits here, and the wait counts. `on_done` gets every outcome,
    once; `requests` are sent in turns.
    """

    def __init__(
        self,
        connect: Connect,
        requests: Sequence[bytes],
        options: PoolOptions,
        on_done: Callable[[Outcome], None],
    ) -> None:
        self.options = options
        self.now = asyncio.get_running_loop().time
        self._connect = connect
        self._requests = itertools.cycle(requests)
        self._on_done = on_done
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._backlog: deque[_Flight] = deque()
        self._in_flight = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def send(self, intended_s: float, *, is_abandoned: bool = False) -> None:
        """Send one request now; `is_abandoned` hangs up soon after."""
        self._in_flight += 1
        self._empty.clear()
        self._launch(_Flight(intended_s, is_abandoned=is_abandoned))

    async def drain(self) -> None:
        """Until every request has its outcome."""
        await self._empty.wait()

    def close(self) -> None:
        """Hang up."""
        self._sweeper.cancel()
        for task in self._opening:
            task.cancel()
        for connection in [*self._idle, *self._busy]:
            connection.abort()

    def _launch(self, flight: _Flight) -> None:
        if self._idle:
            self._start(self._idle.pop(), flight)
        elif len(self._busy) + len(self._opening) < self.options.connections_max:
            task = asyncio.get_running_loop().create_task(self._open(flight))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._backlog.append(flight)

    async def _open(self, flight: _Flight) -> None:
        connection = _Connection(self)
        left_s = flight.intended_s + self.options.timeout_s - self.now()
        try:
            await asyncio.wait_for(self._connect(lambda: connection), max(left_s, 0.0))
        except TimeoutError:
            self._finish(flight, Failure.TIMED_OUT)
        except OSError:
            self._finish(flight, Failure.LOST)
        else:
            self._start(connection, flight)

    def _start(self, connection: _Connection, flight: _Flight) -> None:
        flight.sent_s = self.now()
        self._busy.add(connection)
        connection.start(flight, next(self._requests))

    def answered(self, connection: _Connection, flight: _Flight, code: int) -> None:
        """An answer is complete; the connection takes the next request."""
        self._busy.discard(connection)
        self._finish(flight, code)
        if connection.is_reusable:
            if self._backlog:
                self._start(connection, self._backlog.popleft())
            else:
                self._idle.append(connection)
        else:
            connection.abort()
            self._launch_next()

    def dropped(self, connection: _Connection, flight: _Flight | None, code: int) -> None:
        """A connection is gone, with or without a request on it."""
        self._busy.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if flight is not None:
            if code == Failure.LOST and connection.is_stale and not flight.is_retried:
                # An idle connection that the server closed as we wrote to it: HTTP lets us retry.
                flight.is_retried = True
                self._launch(flight)
                return
            self._finish(flight, code)
        self._launch_next()

    def _launch_next(self) -> None:
        if self._backlog:
            self._launch(self._backlog.popleft())

    def _finish(self, flight: _Flight, code: int) -> None:
        now = self.now()
        self._in_flight -= 1
        if self._in_flight == 0:
            self._empty.set()
        self._on_done(Outcome(flight.intended_s, flight.sent_s or now, now, code))

    def _sweep(self) -> None:
        oldest_s = self.now() - self.options.timeout_s
        while self._backlog and self._backlog[0].intended_s < oldest_s:
            self._finish(self._backlog.popleft(), Failure.TIMED_OUT)
        for connection in list(self._busy):
            if connection.flight is not None and connection.flight.intended_s < oldest_s:
                connection.hang_up(Failure.TIMED_OUT)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, pool: Pool) -> None:
        self.flight: _Flight | None = None
        self.is_reusable = False
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._check = pool.options.check
        self._body: list[bytes] = []
        self._num_answers = 0
        self._has_begun = False

    @property
    def is_stale(self) -> bool:
        """Answered before, and nothing came since: it may have been closed for being idle."""
        return self._num_answers > 0 and not self._has_begun

    def start(self, flight: _Flight, request: bytes) -> None:
        """Send a request."""
        self.flight = flight
        self._has_begun = False
        if self._transport is None or self._transport.is_closing():
            self.hang_up(Failure.LOST)
        elif flight.is_abandoned:
            self._transport.write(request)
            loop = asyncio.get_running_loop()
            loop.call_later(ABANDON_AFTER_S, self._abandon, flight)
        else:
            self._transport.write(request)

    def hang_up(self, code: int) -> None:
        """Close; the request on it ends with `code`."""
        flight, self.flight = self.flight, None
        self.abort()
        self._pool.dropped(self, flight, code)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _abandon(self, flight: _Flight) -> None:
        if self.flight is flight:
            self.hang_up(Failure.ABANDONED)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.hang_up(Failure.WRONG)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._transport = None
        self.hang_up(Failure.LOST)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._has_begun = True
        self._body = []

    def on_body(self, body: bytes) -> None:
        if self._check is not None:
            self._body.append(body)

    def on_message_complete(self) -> None:
        flight, self.flight = self.flight, None
        if flight is None:  # nobody asked
            self.abort()
            return
        code = self._parser.get_status_code()
        if code == OK and self._check is not None and not self._check(b"".join(self._body)):
            code = Failure.WRONG
        self.is_reusable = self._parser.should_keep_alive()
        self._num_answers += 1
        self._pool.answered(self, flight, code)
