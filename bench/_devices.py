"""Simulated devices for the edge bench, as a process of its own: ``python -m bench._devices KIND …``.

``rtu LINK BAUD`` serves ten devices on a pseudo-terminal with the timing of a real line, and prints, each time it is
asked by a line on its input, for how long the line was busy or had to be silent so far.  ``tcp PORT`` answers any
number of connections, three meters behind each.  ``crowd LINK BAUD PROFILE COUNT`` serves devices of one kind; a line on
its input names the units that are dead from now on.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from device_profiles import registers
from device_profiles.loading import load_catalogue
from device_profiles.profile import Space
from simulators.modbus import Faults, Pty, RtuBus, Units, serve_rtu
from telemetry.clock import SystemClock

STREET = (
    "openvmi_lamp_unit5", "openvmi_lamp_unit5", "openvmi_lamp_unit5", "cwt_uwd", "sonbest_sm7901b",
    "acrel_asj10l", "cet_pmc_53", "eastron_sdm630", "heidelberg_energy_control", "tuf_2000m",
)  # fmt: skip
"""A cabinet at a crossing: lamps, weather, noise, residual current, fire monitor, meter, charger, pipe."""


class Fixed:
    """A device whose registers stay as they are."""

    def __init__(self, unit: int, profile: str) -> None:
        self.id, self.unit = f"d{unit}", unit
        self.profile = load_catalogue()[profile]
        low = dict.fromkeys(self.profile.metrics, 1.0)
        self.image = registers.encode(self.profile, low)
        self.readable = {
            (space, address)
            for space in Space
            if (used := [address for at, address in self.image if at is space])
            for address in range(min(used), max(used))
        }
        """Every address from the first used to the last: this model has no illegal holes."""

    def state(self, _now_ms: int) -> str:
        return ""

    def write(self, space: Space, address: int, words: list[int], now_ms: int) -> bool:
        del space, address, words, now_ms
        return False


async def rtu(link: Path, baud: int) -> None:
    things = [Fixed(n + 1, profile) for n, profile in enumerate(STREET)]
    bus, line = RtuBus(Units(things, SystemClock()), baud), Pty(link)
    asyncio.get_running_loop().add_reader(
        sys.stdin, lambda: (sys.stdin.readline(), print(bus.wire_s, flush=True))
    )
    while True:
        await bus.take(await line.read(), line.write)


async def crowd(link: Path, baud: int, profile: str, count: int) -> None:
    things = [Fixed(n + 1, profile) for n in range(count)]
    faults = {thing.id: Faults() for thing in things}

    def die() -> None:
        for unit in sys.stdin.readline().split():
            faults[f"d{unit}"].dead = True

    asyncio.get_running_loop().add_reader(sys.stdin, die)
    await serve_rtu(things, link, baud, SystemClock(), faults)


async def tcp(port: int) -> None:
    """Answer reads with registers that count: frames are built by hand, so that the devices cost little."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while True:
                head = await reader.readexactly(12)
                many = int.from_bytes(head[10:12], "big")
                count += 1
                words = (b"\x3f\x80" + (count & 0xFFFF).to_bytes(2, "big")) * ((many + 1) // 2)
                body = bytes((head[6], head[7], 2 * many)) + words[: 2 * many]
                writer.write(head[:4] + len(body).to_bytes(2, "big") + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1000)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    kind, *more = sys.argv[1:]
    if kind == "crowd":
        asyncio.run(crowd(Path(more[0]), int(more[1]), more[2], int(more[3])))
    else:
        asyncio.run(rtu(Path(more[0]), int(more[1])) if kind == "rtu" else tcp(int(more[0])))
