"""Pushes what changes to every open page: server-sent events, a bounded queue for each."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_WAITING = 500


class Client:
    """One page.  A page that does not keep up is cut off; it then loads everything anew."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_WAITING)
        self._lost = False

    def put(self, event: bytes | None) -> None:
        """Give it an event, or None to end it."""
        if self._lost:
            return
        if event is None or self._waiting.full():
            self._lost = True
            while not self._waiting.empty():
                self._waiting.get_nowait()
            event = None
        self._waiting.put_nowait(event)

    async def next(self) -> bytes | None:
        """Wait for the next event; None when there will be no more."""
        return await self._waiting.get()


class Hub:
    """All open pages."""

    def __init__(self) -> None:
        self._clients: set[Client] = set()

    def publish(self, kind: str, data: object) -> None:
        """Send an event to every page."""
        if self._clients:
            event = b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
            for client in self._clients:
                client.put(event)

    def close(self) -> None:
        """End every stream."""
        for client in self._clients:
            client.put(None)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Take part while the block lasts."""
        client = Client()
        self._clients.add(client)
        try:
            yield client
        finally:
            self._clients.discard(client)
