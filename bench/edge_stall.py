"""What dead neighbours cost the living: 32 devices on a line of 9,600 baud, eight of them dead, on a real pseudo-terminal.

The age of a sample is the time between two stamps of the same device.  The bound is 1.2 of its period and one time-out.
The peer is a master without a breaker, which waits for every dead device in every round.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figure import Figure
from device_profiles.loading import load_catalogue
from device_profiles.registers import Block
from edge_agent.bus import run_bus
from edge_agent.config import Bus
from edge_agent.driver import Device
from edge_agent.drivers import modbus_rtu
from telemetry.clock import SystemClock
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from telemetry.readings import Reading

_PROFILE, _BAUD, _DEVICES = "sonbest_sm7901b", 9600, 32
_PERIOD_S, _TIMEOUT_S = 5.0, 1.0
_BOUND_S = 1.2 * _PERIOD_S + _TIMEOUT_S
_WELL_S, _FIRST_S, _RUN_S = 11.0, 15.0, 60.0
_SPREAD, _TOGETHER = tuple(range(1, 33, 4)), tuple(range(9, 17))  # unit ids of the dead
_Ages = dict[str, list[float]]


def run() -> Iterator[Figure]:
    """Yield the worst age against its bound once the dead are known, and in the round in which they all die at once."""
    found = asyncio.run(_all())
    (spread, spread_first), (together, together_first), (peer, _) = found
    ratios = [worst / _BOUND_S for worst in (spread, together)]
    yield Figure(
        "stall_worst_age_ratio", round(max(ratios), 3), "of 1.2 periods and a time-out", 2,
        round((max(ratios) - min(ratios)) / max(ratios), 3), limit=1.0, peer=round(peer / _BOUND_S, 3),
    )  # fmt: skip
    first = max(spread_first, together_first)
    yield Figure(
        "stall_first_round_age_s", round(first, 2), "s", 2, 0.0, limit=_PERIOD_S + len(_SPREAD) * _TIMEOUT_S
    )


async def _all() -> tuple[tuple[float, float], ...]:
    return await asyncio.gather(
        _played(_agent, _SPREAD), _played(_agent, _TOGETHER), _played(_naive, _SPREAD)
    )


async def _played(
    master: Callable[[modbus_rtu.Config, list[Device], _Ages], Awaitable[None]], dead: Sequence[int]
) -> tuple[float, float]:
    """Return the worst age of a living device: once the dead are known, and while they die."""
    profile = load_catalogue()[_PROFILE]
    devices = [Device(f"d{unit}", profile, unit, _TIMEOUT_S) for unit in range(1, _DEVICES + 1)]
    stamps: _Ages = {device.id: [] for device in devices}
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "line"
        crowd = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-m", "bench._devices", "crowd", str(link), str(_BAUD), _PROFILE, str(_DEVICES)],
            stdin=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            while not link.exists():
                await asyncio.sleep(0.02)
            polling = asyncio.ensure_future(
                master(modbus_rtu.Config(port=str(link), baud=_BAUD), devices, stamps)
            )
            await asyncio.sleep(_WELL_S)
            died = time.time()
            assert crowd.stdin is not None
            print(*dead, file=crowd.stdin, flush=True)
            await asyncio.sleep(_FIRST_S + _RUN_S)
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
        finally:
            crowd.kill()
            crowd.communicate()
    living = [stamps[device.id] for device in devices if device.unit not in dead]
    known = died + _FIRST_S
    return _worst(living, known, known + _RUN_S), _worst(living, died, known)


def _worst(living: Sequence[list[float]], begin: float, end: float) -> float:
    """Return the longest time between two stamps that ends in the span; also one that does not end."""
    return max(
        later - earlier
        for stamps in living
        for earlier, later in itertools.pairwise([*stamps, end])
        if begin <= later <= end
    )


async def _agent(link: modbus_rtu.Config, devices: list[Device], stamps: _Ages) -> None:
    def take(reading: Reading) -> None:
        if None not in reading.values.values():
            stamps[reading.device].append(reading.time / 1000)

    await run_bus(Bus("bench", modbus_rtu, link, _PERIOD_S, tuple(devices)), take, SystemClock())


async def _naive(link: modbus_rtu.Config, devices: list[Device], stamps: _Ages) -> None:
    """Ask one after the other, the dead as well."""
    point = devices[0].profile.points[0]
    block, due = Block(point.space, point.address, point.count), time.monotonic()
    async with modbus_rtu.Driver(link, devices) as driver:
        while True:
            for device in devices:
                try:
                    await driver.read(device, block)
                    stamps[device.id].append(time.time())
                except Unavailable:
                    continue
            due = max(due + _PERIOD_S, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
