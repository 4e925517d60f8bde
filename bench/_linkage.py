"""From a register that changes to the write that answers it: a real agent, a line with real timing, no broker."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench._devices import Fixed
from device_profiles import registers
from device_profiles.profile import Space
from simulators.modbus import serve_rtu
from telemetry.clock import SystemClock

_TRIALS, _PERIOD_S = 20, 0.25
_SITE = """
agent = "edge-01"
area = "bench"
broker = {{ host = "127.0.0.1", port = 9 }}
outbox = {{ path = "outbox.db" }}
[[buses]]
id = "b"
driver = "modbus_rtu"
period_s = {period}
link = {{ port = "{port}", baud = 19200 }}
[[buses.devices]]
id = "smoke"
profile = "calectro_uniguard"
unit = 1
[[buses.devices]]
id = "lamp"
profile = "openvmi_lamp_unit5"
unit = 5
[[linkage]]
rule = "smoke_detector.fire"
target = "lamp"
metric = "dimming"
value = 100
"""


class _Lamp(Fixed):
    written: asyncio.Event

    def write(self, space: Space, address: int, words: list[int], now_ms: int) -> bool:
        del now_ms
        self.image.update({(space, address + n): word for n, word in enumerate(words)})
        self.written.set()
        return True


async def latencies_ms() -> list[float]:
    """Return the milliseconds of each trial, in which the moment of the change is drawn by lot."""
    smoke, lamp = Fixed(1, "calectro_uniguard"), _Lamp(5, "openvmi_lamp_unit5")
    lamp.written, dice = asyncio.Event(), random.Random(7)
    smoke.image = registers.encode(smoke.profile, {"smoke_alarm": 0.0, "fault": 0.0})
    with tempfile.TemporaryDirectory() as name:
        link, config = Path(name) / "line", Path(name) / "edge.toml"
        line = asyncio.ensure_future(serve_rtu([smoke, lamp], link, 19_200, SystemClock()))
        config.write_text(_SITE.format(period=_PERIOD_S, port=link))
        await asyncio.sleep(0.1)
        agent = subprocess.Popen(  # noqa: ASYNC220 - started once, before anything is timed
            [sys.executable, "-m", "edge_agent", "--config", str(config)], stderr=subprocess.DEVNULL
        )
        try:
            await asyncio.sleep(5)
            return [await _trial(smoke, lamp, dice) for _ in range(_TRIALS)]
        finally:
            agent.terminate()
            await asyncio.to_thread(agent.wait, 20)
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)


async def _trial(smoke: Fixed, lamp: _Lamp, dice: random.Random) -> float:
    await asyncio.sleep(dice.uniform(1.0, 1.0 + _PERIOD_S))
    lamp.written.clear()
    began = time.perf_counter()
    smoke.image = registers.encode(smoke.profile, {"smoke_alarm": 1.0, "fault": 0.0})
    async with asyncio.timeout(20):
        await lamp.written.wait()
    took = 1000 * (time.perf_counter() - began)
    smoke.image = registers.encode(smoke.profile, {"smoke_alarm": 0.0, "fault": 0.0})
    return took
