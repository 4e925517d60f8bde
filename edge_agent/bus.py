"""One supervised task a bus: asks in turn, stamps the answer, says so when there is none.

A device that does not answer makes a reading without values in every period, never its last values
again.  After three silent periods it is asked less and less often, down to every 30 s, so that a dead
device does not take the bus from the living ones.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

import structlog

from edge_agent.driver import Heard, LinkDown, Listening, Polled
from telemetry.errors import Malformed, Refused, Unavailable
from telemetry.quality import Quality
from telemetry.readings import DeviceId, MetricName, Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_profiles.profile import Decoded
    from edge_agent.config import Bus
    from edge_agent.driver import Device
    from telemetry.clock import Clock

_PATIENCE = 3  # silent periods until a device is asked less often
_LONGEST_PAUSE_S = 30.0
_REOPEN_S = 2.0  # between two tries to open a listening port
log = structlog.get_logger()


async def run_bus(bus: Bus, emit: Callable[[Reading], None], clock: Clock) -> None:
    """Read the bus for ever, handing each reading to ``emit``."""
    driver = bus.module.Driver(bus.link, bus.devices)
    async with driver:
        if isinstance(driver, Polled):
            await _Poller(bus, driver, emit, clock).run()
        else:
            await _Listener(bus, cast("Listening", driver), emit, clock).run()


class _Trouble:
    """Logs what a device's trouble is once, and again when it changes or is over."""

    def __init__(self, bus: str) -> None:
        self._bus, self._now = bus, dict[str, str]()

    def note(self, device: str, problem: str) -> None:
        if self._now.get(device, "") != problem:
            self._now[device] = problem
            if problem:
                log.warning("device_trouble", bus=self._bus, device=device, problem=problem)
            else:
                log.info("device_well_again", bus=self._bus, device=device)


def _no_values(device: Device, time_ms: int, why: Quality) -> Reading:
    metrics = [MetricName(name) for name in device.profile.metrics]
    return Reading(DeviceId(device.id), time_ms, dict.fromkeys(metrics), dict.fromkeys(metrics, why))


def _reading(device: Device, said: Decoded, time_ms: int) -> Reading:
    return Reading(
        DeviceId(device.id),
        said.time_ms or time_ms,
        cast("dict[MetricName, float | None]", said.values),
        cast("dict[MetricName, Quality]", said.quality),
        said.attributes,
    )


class _Poller:
    def __init__(self, bus: Bus, driver: Polled, emit: Callable[[Reading], None], clock: Clock) -> None:
        self._bus, self._driver, self._emit, self._clock = bus, driver, emit, clock
        self._trouble = _Trouble(bus.id)
        self._silent: dict[str, int] = {}  # periods without an answer
        self._ask_again: dict[str, float] = {}  # monotonic time

    async def run(self) -> None:
        start, tick = self._clock.monotonic(), 0
        while True:
            link_down = False
            for device in self._bus.devices:
                if link_down:
                    self._emit(_no_values(device, self._clock.now_ms(), Quality.LINK_DOWN))
                    continue
                link_down = await self._ask(device) is Quality.LINK_DOWN
            now = self._clock.monotonic()
            tick = max(
                tick + 1, int((now - start) / self._bus.period_s) + 1
            )  # what was missed is not made up for
            await self._clock.sleep(start + tick * self._bus.period_s - now)

    async def _ask(self, device: Device) -> Quality:
        if self._clock.monotonic() < self._ask_again.get(device.id, 0.0):
            self._emit(_no_values(device, self._clock.now_ms(), Quality.NO_ANSWER))
            return Quality.NO_ANSWER
        try:
            said = await self._driver.read(device)
        except LinkDown as error:
            why, problem = Quality.LINK_DOWN, str(error)
        except Unavailable as error:
            why, problem = Quality.NO_ANSWER, str(error)
        except Refused as error:
            why, problem = Quality.REFUSED, str(error)
        except Malformed as error:
            why, problem = Quality.MALFORMED, str(error)
        else:
            self._silent.pop(device.id, None)
            self._ask_again.pop(device.id, None)
            self._trouble.note(device.id, "")
            self._emit(_reading(device, said, self._clock.now_ms()))
            return Quality.GOOD
        self._trouble.note(device.id, problem)
        self._emit(_no_values(device, self._clock.now_ms(), why))
        if why is Quality.NO_ANSWER:
            self._rest(device)
        return why

    def _rest(self, device: Device) -> None:
        silent = self._silent[device.id] = self._silent.get(device.id, 0) + 1
        if silent >= _PATIENCE:
            pause = min(self._bus.period_s * 2 ** (silent - _PATIENCE), _LONGEST_PAUSE_S)
            self._ask_again[device.id] = self._clock.monotonic() + pause


class _Listener:
    """Passes on what arrives, at most once a period for a stream, and misses what does not."""

    def __init__(self, bus: Bus, driver: Listening, emit: Callable[[Reading], None], clock: Clock) -> None:
        self._bus, self._driver, self._emit, self._clock = bus, driver, emit, clock
        self._trouble = _Trouble(bus.id)
        self._streams = bus.module.TRANSPORT == "serial_frame"
        self._due: dict[str, float] = {}  # when a stream's next reading is wanted
        self._heard_at: dict[str, float] = {}
        self._link_down = False

    async def run(self) -> None:
        now = self._clock.monotonic()
        self._heard_at = {device.id: now for device in self._bus.devices}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._hear())

    async def _hear(self) -> None:
        while True:
            try:
                heard = self._driver.listen()
                async with contextlib.aclosing(heard):  # type: ignore[type-var]
                    async for item in heard:
                        self._link_down = False
                        self._take(item)
            except LinkDown as error:
                self._link_down = True
                self._trouble.note(self._bus.id, str(error))
            await self._clock.sleep(_REOPEN_S)

    def _take(self, heard: Heard) -> None:
        name = heard.device.id if heard.device else self._bus.id
        if isinstance(heard.said, Malformed):
            self._trouble.note(name, str(heard.said))
            return
        self._trouble.note(self._bus.id, "")
        self._trouble.note(name, "")
        if heard.device is None:
            return
        now = self._clock.monotonic()
        self._heard_at[name] = now
        if self._streams:
            if now < self._due.get(name, 0.0):
                return
            self._due[name] = max(self._due.get(name, now) + self._bus.period_s, now + self._bus.period_s / 2)
        self._emit(_reading(heard.device, heard.said, self._clock.now_ms()))

    async def _watch(self) -> None:
        """Say of each device that has been silent for two and a half periods that it is, once a period."""
        while True:
            await self._clock.sleep(self._bus.period_s)
            now = self._clock.monotonic()
            for device in self._bus.devices:
                if now - self._heard_at[device.id] > 2.5 * self._bus.period_s:
                    why = Quality.LINK_DOWN if self._link_down else Quality.NO_ANSWER
                    self._trouble.note(device.id, "silent")
                    self._emit(_no_values(device, self._clock.now_ms(), why))
