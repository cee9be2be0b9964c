"""A connection that ends itself: slow or huge headers, too many chunks or requests at once, answers
that nobody reads.

uvicorn has limits for none of these. Deadlines of a body are those of `exchange.read_body`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from colonnade.serve.config import Limits
from colonnade.serve.http.exchange import CONNECTION

PIPELINED_MAX = 64
"""Requests that may wait behind the one that is being answered, on one connection."""


AnswerAtOnce = Callable[[bytes, Sequence[tuple[bytes, bytes]], bytes], bytes | None]
"""The whole response to a POST (path, headers, body) that needs no waiting; None: as usual."""


def make_protocol(
    limits: Limits, answer_at_once: AnswerAtOnce | None = None
) -> type[HttpToolsProtocol]:
    """uvicorn's protocol with these limits. A request is held back until it is complete, if that is
    in one read; when `answer_at_once` has nothing to say, it takes its usual way."""

    class Limited(HttpToolsProtocol):
        """One connection."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._header_bytes = 0
            self._chunks = 0
            self._is_in_headers = True
            self._deadline: asyncio.TimerHandle | None = None
            self._write_deadline: asyncio.TimerHandle | None = None
            self.on_lost: Callable[[], object] | None = None
            self.is_lost = False
            self._held: list[bytes] | None = None
            """The body so far of a request that uvicorn does not know of yet."""
            self._answered_s = 0.0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            self._end_write_deadline()
            if self.timeout_keep_alive_task is not None:
                self.timeout_keep_alive_task.cancel()
            super().connection_lost(exc)
            self.is_lost = True
            if self.on_lost is not None:
                self.on_lost()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._is_in_headers:
                self._header_bytes += len(data)
            super().data_received(data)
            if self._held is not None:
                self._let_go()
            if self._is_in_headers and self._header_bytes and self._deadline is None:
                self._arm()
            # A body that came with its headers does not count: they are complete by now.
            if self._is_in_headers and self._header_bytes > limits.header_bytes:
                self._end(b"431 Request Header Fields Too Large")

        def on_headers_complete(self) -> None:
            self._is_in_headers = False
            self._disarm()
            size = sum(len(name) + len(value) for name, value in self.headers)
            if size + len(self.url) > limits.header_bytes or len(self.headers) > limits.headers:
                self._end(b"431 Request Header Fields Too Large")
            elif self.parser.get_http_version() == "0.9" or len(self.pipeline) >= PIPELINED_MAX:
                self._end(b"400 Bad Request")
            if self.transport.is_closing():
                return
            if answer_at_once is not None and self._may_answer_at_once():
                self._held = []
            else:
                self._begin()

        def _begin(self) -> None:
            cast(dict[str, Any], self.scope)[CONNECTION] = self
            super().on_headers_complete()

        def _may_answer_at_once(self) -> bool:
            is_idle = self.cycle is None or self.cycle.response_complete
            return (
                is_idle
                and not self.pipeline
                and not self.expect_100_continue
                and not self.flow.write_paused
                and len(self.connections) < limits.connections
                and self.parser.get_method() == b"POST"
                and self.parser.get_http_version() == "1.1"
                and self.parser.should_keep_alive()
                and not self.parser.should_upgrade()
            )

        def _let_go(self) -> None:
            """To uvicorn, as if it came now."""
            held, self._held = self._held, None
            self._begin()
            for part in held or ():
                super().on_body(part)

        def on_chunk_header(self) -> None:
            self._chunks += 1
            if self._chunks > limits.chunks:
                self._end(b"413 Content Too Large")

        def on_body(self, body: bytes) -> None:
            if self._held is not None:
                self._held.append(body)
            elif not self.transport.is_closing():
                super().on_body(body)

        def on_message_complete(self) -> None:
            if self._held is None or not self._answer_at_once(b"".join(self._held)):
                super().on_message_complete()
            self._header_bytes = self._chunks = 0
            self._is_in_headers = True

        def _answer_at_once(self, body: bytes) -> bool:
            assert answer_at_once is not None
            answer = answer_at_once(self.url, self.headers, body)
            if answer is None:
                self._let_go()
                return False
            self._held = None
            self.transport.write(answer)
            self.server_state.total_requests += 1
            self._keep_alive()
            return True

        def _unset_keepalive_if_required(self) -> None:
            """Nothing: the handler looks whether the connection was idle."""

        def on_response_complete(self) -> None:
            timer, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
            super().on_response_complete()
            if timer is not None:
                timer.cancel()

        def _keep_alive(self) -> None:
            """One timer that looks again is cheaper than one for each request."""
            self._answered_s = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    limits.keep_alive_s, self.timeout_keep_alive_handler
                )

        def timeout_keep_alive_handler(self) -> None:
            self.timeout_keep_alive_task = None
            is_busy = self.cycle is not None and not self.cycle.response_complete
            if is_busy or self._header_bytes:
                return
            left_s = self._answered_s + limits.keep_alive_s - self.loop.time()
            if left_s <= 0:
                super().timeout_keep_alive_handler()
            else:
                self.timeout_keep_alive_task = self.loop.call_later(
                    left_s, self.timeout_keep_alive_handler
                )

        def pause_writing(self) -> None:
            super().pause_writing()
            loop = asyncio.get_running_loop()
            self._write_deadline = loop.call_later(limits.write_timeout_s, self._abort)

        def resume_writing(self) -> None:
            self._end_write_deadline()
            super().resume_writing()

        def _arm(self) -> None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(
                limits.header_timeout_s, self._end, b"408 Request Timeout"
            )

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _end_write_deadline(self) -> None:
            if self._write_deadline is not None:
                self._write_deadline.cancel()
                self._write_deadline = None

        def _abort(self) -> None:
            self.transport.abort()

        def _end(self, status: bytes) -> None:
            self._disarm()
            if not self.transport.is_closing():
                self.transport.write(
                    b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                )
                self.transport.close()

    return Limited
