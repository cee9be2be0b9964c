"""Clients that cost next to nothing, so that one CPU of them keeps a server's CPU busy.

They send the same prepared bytes again and again, over blocking-free sockets in one epoll loop, and
expect every answer to be like the first one. Good for a server that is fast and never refuses; for
anything else there is `colonnade.bench.load`.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Protocol

from colonnade.errors import RunError

RECEIVE_BYTES = 1 << 16
POLL_S = 0.0  # it never sleeps: waking up takes longer than an answer


class Connection(Protocol):
    """One connection with at most one request on it."""

    socket: socket.socket

    def send(self) -> None:
        """The next request."""

    def is_answered(self) -> bool:
        """Read what is there; whether the answer is complete and right. Raises RunError."""


def answers_per_s(
    connect: Callable[[], Connection], clients: int, seconds: float, warm_up_s: float = 0.5
) -> float:
    """What waiting clients get, after a warm-up."""
    connections = [connect() for _ in range(clients)]
    poll = select.epoll()
    by_number = {}
    for connection in connections:
        by_number[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
        connection.send()
    try:
        _serve(poll, by_number, warm_up_s)
        start = time.perf_counter()
        count = _serve(poll, by_number, seconds)
        return count / (time.perf_counter() - start)
    finally:
        poll.close()
        for connection in connections:
            connection.socket.close()


def _serve(poll: select.epoll, by_number: dict[int, Connection], seconds: float) -> int:
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        for number, _ in poll.poll(POLL_S):
            connection = by_number[number]
            if connection.is_answered():
                count += 1
                connection.send()
    return count


def _open(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class HttpConnection:
    """HTTP/1.1 with keep-alive."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = _open(port)
        self._request = request
        self._size = 0
        self._read = b""

    def send(self) -> None:
        """The request."""
        self._read = b""
        self.socket.sendall(self._request)

    def is_answered(self) -> bool:
        """Whether a 200 of the size of the first one is there."""
        self._read += self.socket.recv(RECEIVE_BYTES)
        if not self._size:
            self._size = _answer_size(self._read)
        if len(self._read) < self._size or not self._size:
            return False
        if len(self._read) > self._size or not self._read.startswith(b"HTTP/1.1 200"):
            raise RunError(f"an answer is not like the first one: {self._read[:200]!r}")
        return True


def _answer_size(start: bytes) -> int:
    """Bytes of the answer; 0 when its header is not complete."""
    header, end, _ = start.partition(b"\r\n\r\n")
    if not end:
        return 0
    fields = dict(line.lower().split(b": ", 1) for line in header.split(b"\r\n")[1:])
    return len(header) + len(end) + int(fields[b"content-length"])


_FRAME = struct.Struct(">IBI")
"""Length and type in one word, flags, stream."""
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WINDOW = struct.pack(">I", 1 << 30)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) << 8 | kind, flags, stream) + payload


class GrpcConnection:
    """HTTP/2, one call at a time: prepared HPACK, answers judged by their DATA frame."""

    def __init__(self, port: int, method: str, message: bytes) -> None:
        self.socket = _open(port)
        self._headers = _hpack(f"127.0.0.1:{port}", method)
        self._data = b"\0" + struct.pack(">I", len(message)) + message
        self._stream = -1
        self._read = b""
        self._size = 0
        self._data_size = 0
        window = _frame(_WINDOW_UPDATE, 0, 0, _WINDOW)
        self.socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + window)

    def send(self) -> None:
        """A call on the next stream."""
        self._stream += 2
        self._data_size = 0
        headers = _frame(_HEADERS, _END_HEADERS, self._stream, self._headers)
        self.socket.sendall(headers + _frame(_DATA, _END_STREAM, self._stream, self._data))

    def is_answered(self) -> bool:
        """Whether the trailers are there, after a message of the size of the first one."""
        self._read += self.socket.recv(RECEIVE_BYTES)
        is_done, offset = False, 0
        while len(self._read) >= offset + _FRAME.size:
            word, flags, stream = _FRAME.unpack_from(self._read, offset)
            start, end = offset + _FRAME.size, offset + _FRAME.size + (word >> 8)
            if len(self._read) < end:
                break
            is_done |= self._take(word & 0xFF, flags, stream, self._read[start:end])
            offset = end
        self._read = self._read[offset:]
        return is_done

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        """A frame; True for the last one of the call."""
        if kind == _DATA:
            self._data_size += len(payload)
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            echoed = payload if kind == _PING else b""
            self.socket.sendall(_frame(kind, _ACK, 0, echoed))
        elif kind == _GOAWAY:
            raise RunError(f"the server hangs up: {payload!r}")
        elif kind == _HEADERS and flags & _END_STREAM and stream == self._stream:
            self._size = self._size or self._data_size
            if not self._size or self._data_size != self._size:
                raise RunError(f"an answer of {self._data_size} bytes, the first had {self._size}")
            return True
        return False


def _hpack(authority: str, method: str) -> bytes:
    """Literal fields, without the dynamic table."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


def _text(text: str) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()
