"""A small HTTP server of the tests, with one worker of known service time and a bounded queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from colonnade.bench.load.pool import Connect

OK = "200 OK"
BUSY = "429 Too Many Requests"


@dataclass
class StubServer:
    """Answers one request after another, each `service_s` after it began."""

    service_s: float = 0.0
    queue_max: int = 10**9
    answer: Callable[[int], bytes] = lambda _: b"{}"
    keeps_alive: bool = True
    is_silent: bool = False
    seen: list[bytes] = field(default_factory=list)
    _waiting: int = 0
    _free_s: float = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while (request := await _read_request(reader)) is not None:
                self.seen.append(request)
                if self.is_silent:
                    continue
                status = await self._work()
                writer.write(self._reply(status))
                if not self.keeps_alive:
                    break
        finally:
            writer.close()

    async def _work(self) -> str:
        loop = asyncio.get_running_loop()
        if self._waiting > self.queue_max:
            return BUSY
        self._waiting += 1
        self._free_s = max(self._free_s, loop.time()) + self.service_s
        await asyncio.sleep(self._free_s - loop.time())
        self._waiting -= 1
        return OK

    def _reply(self, status: str) -> bytes:
        body = self.answer(len(self.seen)) if status == OK else b"{}"
        connection = "keep-alive" if self.keeps_alive else "close"
        head = (
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: {connection}\r\n\r\n"
        )
        return head.encode() + body


async def _read_request(reader: asyncio.StreamReader) -> bytes | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if b"content-length" in line
        )
        return head + await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


@asynccontextmanager
async def listening(stub: StubServer, path: Path) -> AsyncIterator[Connect]:
    """The server on a Unix socket, and the way to connect to it."""
    server = await asyncio.start_unix_server(stub.serve, path)

    async def connect(protocol: Callable[[], asyncio.Protocol]) -> object:
        return await asyncio.get_running_loop().create_unix_connection(protocol, str(path))

    async with server:
        yield connect
