"""Pushes what changes to every open page: server-sent events, a bounded queue for each.

A page that does not keep up is cut off and loads everything anew; what waits for one page costs the others nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from command_center.answers import as_error
from command_center.people.sight import visible
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.types import Receive, Scope, Send

    from telemetry.clock import Clock

MOST_VIEWERS = 1000
MOST_OF_ONE = 300
"""Pages of one session or key, so that none takes the places of all."""
MOST_WAITING = 2000
"""Events; they are shared by all pages, so that a storm is held once."""
_AT_ONCE = 256
_PACE_S = 0.2
"""What comes within so long goes out together."""
_SEND_S = 10.0
"""A page that takes nothing for so long is gone, or as good as gone."""
_STILL_S = 15.0
_OUTLIVES_S = 5.0
"""How long a stream may outlive the session it was opened with."""


class Client:
    """One page: of which session or key, and the devices that it may see; None for all."""

    def __init__(self, who: str = "", seen: frozenset[str] | None = None) -> None:
        self.who, self.seen = who, seen
        self._waiting: deque[bytes] = deque()
        self._news = asyncio.Event()
        self.lost = False

    def put(self, event: bytes) -> None:
        """Give it an event; too many that wait cut it off."""
        if self.lost:
            return
        self._waiting.append(event)
        if len(self._waiting) > MOST_WAITING:
            self.cut()
        self._news.set()

    @property
    def behind(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def cut(self) -> None:
        """End its stream."""
        self.lost = True
        self._waiting.clear()
        self._news.set()

    async def next(self) -> bytes:
        """Wait for what is new, many events in one; nothing when there will be no more."""
        await self._news.wait()
        events = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
        if not self._waiting and not self.lost:
            self._news.clear()
        return b"".join(events)


class Hub:
    """All open pages."""

    def __init__(self) -> None:
        self._clients: set[Client] = set()

    @property
    def viewers(self) -> int:
        """How many pages are open."""
        return len(self._clients)

    def viewers_of(self, who: str) -> int:
        """How many pages one session or key has open."""
        return sum(client.who == who for client in self._clients)

    def publish(self, kind: str, data: object | Callable[[], object]) -> None:
        """Send an event to every page; ``data`` may be how to make it, where nobody may be there to see."""
        if self._clients:
            content = data() if callable(data) else data
            events: dict[frozenset[str] | None, bytes] = {}
            for client in self._clients:
                if client.seen not in events:  # once for all who see the same
                    events[client.seen] = _event(kind, content, client.seen)
                if event := events[client.seen]:
                    client.put(event)

    def close(self) -> None:
        """End every stream."""
        for client in self._clients:
            client.cut()

    @contextmanager
    def client(self, client: Client | None = None) -> Iterator[Client]:
        """Take part while the block lasts."""
        client = client or Client()
        self._clients.add(client)
        try:
            yield client
        finally:
            self._clients.discard(client)


def _event(kind: str, content: object, seen: frozenset[str] | None) -> bytes:
    shown = content if seen is None else visible(kind, content, seen)
    return (
        b""
        if shown is None
        else b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(shown) + b"\n\n"
    )


class Stream(Response):
    """A page's events, until it goes, falls behind, is known no more or the centre stops."""

    media_type = "text/event-stream"

    def __init__(
        self, hub: Hub, clock: Clock, is_known: Callable[[], Awaitable[bool]], client: Client | None = None
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub, self._clock, self._is_known, self._client = hub, clock, is_known, client or Client()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send."""
        if self._hub.viewers >= MOST_VIEWERS:
            full = as_error(503, "打开的页面太多", f"{MOST_VIEWERS} pages are open already")
            await full(scope, receive, send)
            return
        with self._hub.client(self._client) as client:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            gone = asyncio.ensure_future(_gone(receive, client))
            try:
                await self._events(client, send)
            finally:
                gone.cancel()
                await asyncio.gather(gone, return_exceptions=True)

    async def _events(self, client: Client, send: Send) -> None:
        chunk, asked = b": hello\n\n", self._clock.monotonic()
        while chunk:
            if self._clock.monotonic() - asked > _OUTLIVES_S:
                asked = self._clock.monotonic()
                if not await self._may_go_on():
                    break
            try:
                async with asyncio.timeout(_SEND_S):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except TimeoutError:
                client.cut()
                return
            if not client.behind:
                await self._clock.sleep(_PACE_S)
            try:
                chunk = await asyncio.wait_for(client.next(), _STILL_S)
            except TimeoutError:
                chunk = b": still here\n\n"
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _may_go_on(self) -> bool:
        try:
            return await self._is_known()
        except Unavailable:
            return True  # a database that is away takes no alarm from the screens


async def _gone(receive: Receive, client: Client) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    client.cut()
