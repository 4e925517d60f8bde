"""Load: a fleet's worth of uploads over one connection, and how long each took to be acknowledged.

A raw MQTT 3.1.1 client (OASIS standard, sections 3.1 to 3.8) that costs a few microseconds a message, so that what is
measured beside it on the same machine is the platform and not the measuring.  It keeps no outbox and sends nothing
again: it is for benchmarks.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from telemetry import topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

_CONNECT, _PUBLISH, _PUBACK, _SUBSCRIBE = 0x10, 0x30, 0x40, 0x82
_CLEAN_SESSION = 0x02
_QOS_1 = 0x02
_READ_BYTES = 1 << 18
_FLUSH_BYTES = 1 << 16


class Fleet:
    """``async with Fleet(...)``; ``received(topic, payload)`` is told of what arrives."""

    def __init__(
        self, host: str, port: int, area: str, received: Callable[[str, bytes], None], *, name: str = "fleet"
    ) -> None:
        self._host, self._port, self._area, self._received = host, port, area, received
        self._name = name
        self._packet = 0
        self.unacknowledged = 0
        """Messages that the broker has not acknowledged."""

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        head = b"\x00\x04MQTT\x04" + bytes([_CLEAN_SESSION]) + b"\x00\x00"  # no keep-alive
        self._writer.write(_framed(_CONNECT, head + _text(self._name.encode())))
        if (await self._reader.readexactly(4))[3] != 0:
            raise ConnectionRefusedError("the broker refused the connection")
        self._listening = asyncio.ensure_future(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            await self._listening
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def subscribe(self, *wanted: str) -> None:
        """Ask for topics, at most once each."""
        body = self._next() + b"".join(_text(topic.encode()) + b"\x00" for topic in wanted)
        self._writer.write(_framed(_SUBSCRIBE, body))
        await self._writer.drain()

    async def publish(self, messages: Iterable[tuple[str, bytes]]) -> int:
        """Send ``(agent, payload)`` uploads at QoS 1 as fast as the broker takes them; return how many."""
        count = waiting = 0
        for agent, payload in messages:
            packet = _framed(
                _PUBLISH | _QOS_1, _text(topics.up(self._area, agent).encode()) + self._next() + payload
            )
            self._writer.write(packet)
            count += 1
            waiting += len(packet)
            if waiting >= _FLUSH_BYTES:
                waiting = 0
                await self._writer.drain()
        self.unacknowledged += count
        await self._writer.drain()
        return count

    def send(self, topic: str, payload: bytes) -> None:
        """Send one message of another kind at QoS 0."""
        self._writer.write(_framed(_PUBLISH, _text(topic.encode()) + payload))

    def _next(self) -> bytes:
        self._packet = self._packet % 0xFFFF + 1
        return self._packet.to_bytes(2)

    async def _listen(self) -> None:
        held = b""
        while True:
            more = await self._reader.read(_READ_BYTES)
            if not more:
                raise ConnectionResetError("the broker closed the connection")
            held += more
            place = 0
            while (packet := _packet_at(held, place)) is not None:
                kind, begin, place = packet
                if kind & 0xF0 == _PUBACK:
                    self.unacknowledged -= 1
                elif kind & 0xF0 == _PUBLISH:
                    length = int.from_bytes(held[begin : begin + 2])
                    topic = held[begin + 2 : begin + 2 + length].decode()
                    self._received(topic, held[begin + 2 + length : place])
            held = held[place:]


def _packet_at(data: bytes, place: int) -> tuple[int, int, int] | None:
    """Return ``(kind, begin, end)`` of the packet's body, None while it is not whole."""
    length, shift = 0, 0
    for at in range(place + 1, min(place + 5, len(data))):
        length |= (data[at] & 0x7F) << shift
        shift += 7
        if not data[at] & 0x80:
            end = at + 1 + length
            return (data[place], at + 1, end) if end <= len(data) else None
    return None


def _framed(kind: int, body: bytes) -> bytes:
    length, size = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        size.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([kind]) + bytes(size) + body


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2) + value
