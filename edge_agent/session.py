"""A modem's own MQTT session to the broker: QoS 1, one publication at a time, as much as such a modem bears.

A burst of publications drops the session of these modems, so they are a quarter of a second apart.  There is no last
will: that an agent is gone is told by its silence.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from edge_agent.modems._radio import Published
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from edge_agent.modem import Modem
    from edge_agent.modems._radio import Step
    from telemetry.clock import Clock

_APART_S = 0.25
_SIGNAL_S = 60.0
_PACKET_BYTES = 90  # what MQTT, TCP and IP add to a payload and its acknowledgement, about
_KEEPALIVE_S = 600
_MOST_NUMBER = 65_535
_WAITING = 64


class Session:
    """A session that is open while the modem is; see :class:`edge_agent.link.Link`."""

    def __init__(self, modem: Modem, mqtt: Any, where: str, clock: Clock) -> None:
        self._modem, self._mqtt, self._where, self._clock = modem, mqtt, where, clock
        self._number, self._last = 0, -_APART_S
        self._turn = asyncio.Lock()
        self._arrived: asyncio.Queue[tuple[str, bytes] | Unavailable] = asyncio.Queue(_WAITING)
        self._signal: dict[str, float] = {}
        self._signal_at = -_SIGNAL_S
        self.traffic = 0

    async def open(
        self, host: str, port: int, client: str, login: tuple[str, str] | None, hears: Sequence[str]
    ) -> None:
        """Connect and subscribe; raise :class:`Unavailable`."""
        for command in self._mqtt.close():  # left open by an agent that was killed
            try:
                await self._modem.do(command)
            except Unavailable:
                continue
        for step in self._mqtt.session(host, port, client, login, _KEEPALIVE_S):
            await self._do(step)
        for topic in hears:
            await self._do(self._mqtt.subscribe(self._next(), topic))

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """See the seam; returns when the broker has acknowledged, as far as the modem tells."""
        async with self._turn:
            await self._clock.sleep(max(0.0, self._last + _APART_S - self._clock.monotonic()))
            await self._do(self._mqtt.publish(self._next(), topic, payload, retain=retain))
            self._last = now = self._clock.monotonic()
            if now - self._signal_at >= _SIGNAL_S:  # behind the message, which may be an alarm
                self._signal_at, self._signal = now, await self._modem.signal()
        self.traffic += len(topic) + len(payload) + _PACKET_BYTES

    async def receive(self) -> AsyncIterator[tuple[str, bytes]]:
        """See the seam."""
        while True:
            item = await self._arrived.get()
            if isinstance(item, Unavailable):
                raise item
            yield item

    def metrics(self) -> Mapping[str, float]:
        """Return what the radio tells."""
        return self._signal

    async def pump(self) -> None:
        """Take what arrives, until the session is lost."""
        while True:
            try:
                news = await self._modem.arrived()
            except Unavailable as error:
                await self._arrived.put(error)
                return
            if isinstance(news, Published):
                self.traffic += len(news.topic) + len(news.payload) + _PACKET_BYTES
                await self._arrived.put((news.topic, news.payload))

    async def _do(self, step: Step) -> None:
        lines = await self._modem.patiently(step.command)
        if step.good and not any(re.fullmatch(step.good, line) for line in lines):
            raise Unavailable(f"{self._where}: {step.command.text[:16]}: {' '.join(lines) or 'no answer'}")

    def _next(self) -> int:
        self._number = self._number % _MOST_NUMBER + 1
        return self._number
