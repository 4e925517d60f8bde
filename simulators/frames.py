"""Devices that speak unasked: a sensor streaming on a serial line, NB-IoT devices that wake, send and sleep."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from simulators.modbus import Pty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from simulators.city import Thing
    from telemetry.clock import Clock

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


async def serve_datagrams(
    things: Sequence[Thing], host: str, port: int, period_s: float, clock: Clock
) -> None:
    """Let each device wake every ``period_s`` seconds and send one datagram, until cancelled.

    A change of a state (a cover that moves) wakes a device at once, as it does a real one.
    """
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(host, port))
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
                thing.sent(now_ms)
                transport.sendto(thing.frame)
    finally:
        transport.close()
