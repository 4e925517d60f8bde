"""Pages that look on: raw connections to the event stream that note when they saw what."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from bench._centre import BEARER

if TYPE_CHECKING:
    from types import TracebackType

_SEEN_S = 30.0
_SIGNED = f"Authorization: {BEARER['Authorization']}"


class _Page(asyncio.Protocol):
    def __init__(self, crowd: Viewers) -> None:
        self._crowd, self._tail = crowd, b""
        self.transport: asyncio.Transport
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.is_open = transport, True

    def data_received(self, data: bytes) -> None:
        self._crowd.received += len(data)
        marker = self._crowd.marker
        if marker and marker in self._tail + data:
            self._crowd.seen.setdefault(self, time.time())
        self._tail = data[-64:]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_open = False


class Viewers:
    """``async with Viewers(url, 200) as viewers``; ``slow`` of them read nothing once the stream has begun."""

    def __init__(self, url: str, count: int, slow: int = 0) -> None:
        self._url, self._count, self._slow = urlsplit(url), count, slow
        self._stack = AsyncExitStack()
        self.pages: list[_Page] = []
        self.seen: dict[_Page, float] = {}
        self.marker = b""
        self.received = 0

    async def __aenter__(self) -> Self:
        host, port = self._url.hostname or "", self._url.port or 80
        loop = asyncio.get_running_loop()
        for n in range(self._count):
            sock = socket.socket()
            if n < self._slow:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, (host, port))
            transport, page = await loop.create_connection(lambda: _Page(self), sock=sock)
            transport.write(f"GET /api/stream HTTP/1.1\r\nHost: {host}:{port}\r\n{_SIGNED}\r\n\r\n".encode())
            if n < self._slow:
                transport.pause_reading()
            else:
                self.pages.append(page)
            self._stack.callback(transport.abort)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def open(self) -> int:
        """How many that read are still connected."""
        return sum(page.is_open for page in self.pages)

    async def saw(self, marker: str, since: float) -> list[float]:
        """Return after how many seconds each page saw ``marker``, which must be looked for from before it is sent."""
        assert self.marker == marker.encode()
        async with asyncio.timeout(_SEEN_S):
            while len(self.seen) < self.open:
                await asyncio.sleep(0.02)
        took = [at - since for at in self.seen.values()]
        self.seen.clear()
        self.marker = b""  # what more is told of it must not count for the next
        return took
