"""Devices that speak unasked: a sensor streaming on a serial line, NB-IoT devices that wake, send and sleep."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from simulators.modbus import Pty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from simulators.city import Thing
    from telemetry.clock import Clock

AWAKE_S = 2.0  # real ones listen for two to ten seconds
STREAM_S = 0.8  # a Plantower in active mode sends every 0.2 to 2.3 s


async def serve_stream(thing: Thing, link: Path, clock: Clock) -> None:
    """Send frames on a serial line named ``link``, until cancelled."""
    line = Pty(link)
    try:
        while True:
            await clock.sleep(STREAM_S)
            if not thing.state(clock.now_ms()):
                thing.sent(clock.now_ms())
                line.write(thing.frame)
    finally:
        line.close()


class _Ear(asyncio.DatagramProtocol):
    """What a device hears in the seconds after it has sent; before and after them it is deaf."""

    def __init__(self, thing: Thing, clock: Clock) -> None:
        self._thing, self._clock = thing, clock
        self._transport: asyncio.DatagramTransport | None = None
        self._until = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def wake(self) -> None:
        """Send a frame, and listen."""
        assert self._transport is not None
        self._thing.sent(self._clock.now_ms())
        self._until = self._clock.monotonic() + AWAKE_S
        self._transport.sendto(self._thing.frame)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        del addr
        if self._clock.monotonic() <= self._until and self._thing.told(data, self._clock.now_ms()):
            self.wake()  # and says at once what it has made of it

    def close(self) -> None:
        """Let go of the socket."""
        if self._transport is not None:
            self._transport.close()


async def serve_datagrams(
    things: Sequence[Thing], host: str, port: int, period_s: float, clock: Clock
) -> None:
    """Let each device wake every ``period_s`` seconds and send one datagram, until cancelled.

    A change of a state (a cover that moves) wakes a device at once, as it does a real one.  Each has an address of its
    own, at which it can be told something for :data:`AWAKE_S` seconds after it has sent.
    """
    loop = asyncio.get_running_loop()
    ears = {thing.id: _Ear(thing, clock) for thing in things}
    for ear in ears.values():
        await loop.create_datagram_endpoint(lambda ear=ear: ear, remote_addr=(host, port))  # type: ignore[misc]
    next_at = {
        thing.id: clock.monotonic() + period_s * place / len(things) for place, thing in enumerate(things)
    }
    states: dict[str, object] = {}
    try:
        while True:
            await clock.sleep(0.2)
            for thing in things:
                now_ms = clock.now_ms()
                state = thing.alert
                if thing.state(now_ms) or (
                    clock.monotonic() < next_at[thing.id] and states.get(thing.id, state) == state
                ):
                    continue
                states[thing.id] = state
                next_at[thing.id] = clock.monotonic() + period_s
                ears[thing.id].wake()
    finally:
        for ear in ears.values():
            ear.close()
