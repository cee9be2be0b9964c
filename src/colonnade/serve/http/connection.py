"""A connection that ends itself: slow or huge headers, too many chunks or requests at once, answers
that nobody reads.

uvicorn has limits for none of these. Deadlines of a body are those of `exchange.read_body`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from colonnade.serve.config import Limits

PIPELINED_MAX = 64
"""Requests that may wait behind the one that is being answered, on one connection."""


def make_protocol(limits: Limits) -> type[HttpToolsProtocol]:
    """uvicorn's protocol with these limits."""

    class Limited(HttpToolsProtocol):
        """One connection."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._header_bytes = 0
            self._chunks = 0
            self._is_in_headers = True
            self._deadline: asyncio.TimerHandle | None = None
            self._write_deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            self._end_write_deadline()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._is_in_headers:
                if self._deadline is None:
                    self._arm()
                self._header_bytes += len(data)
            super().data_received(data)
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
            if not self.transport.is_closing():
                super().on_headers_complete()

        def on_chunk_header(self) -> None:
            self._chunks += 1
            if self._chunks > limits.chunks:
                self._end(b"413 Content Too Large")

        def on_body(self, body: bytes) -> None:
            if not self.transport.is_closing():
                super().on_body(body)

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._header_bytes = self._chunks = 0
            self._is_in_headers = True

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
