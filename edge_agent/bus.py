"""One supervised task a bus: polled by its plan, or listened to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

from edge_agent.driver import Heard, LinkDown, Listening, Polled
from edge_agent.poller import Poller, Trouble
from edge_agent.turns import no_values
from telemetry.errors import Malformed
from telemetry.quality import Quality
from telemetry.readings import DeviceId, MetricName, Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_profiles.profile import Decoded
    from edge_agent.config import Bus
    from edge_agent.driver import Device
    from edge_agent.learned import Learned
    from telemetry.clock import Clock

_LOOK_S = 60.0  # the longest between two looks at who is silent
_REOPEN_S = 2.0  # between two tries to open a listening port


async def run_bus(
    bus: Bus,
    emit: Callable[[Reading], None],
    clock: Clock,
    learned: Learned | None = None,
    polled: Callable[[Poller | Listener], None] | None = None,
) -> None:
    """Read the bus for ever, handing each reading to ``emit`` and who reads it, once there is one, to ``polled``."""
    driver = bus.module.Driver(bus.link, bus.devices)
    async with driver:
        if isinstance(driver, Polled):
            poller = Poller(bus, driver, emit, clock, learned)
            if polled is not None:
                polled(poller)
            await poller.run()
        else:
            listener = Listener(bus, cast("Listening", driver), emit, clock)
            if polled is not None:
                polled(listener)
            await listener.run()


def _reading(device: Device, said: Decoded, time_ms: int) -> Reading:
    return Reading(
        DeviceId(device.id),
        said.time_ms or time_ms,
        cast("dict[MetricName, float | None]", said.values),
        cast("dict[MetricName, Quality]", said.quality),
        said.attributes,
    )


class Listener:
    """Passes on what arrives, at most once a period for a stream, and misses what does not."""

    def __init__(self, bus: Bus, driver: Listening, emit: Callable[[Reading], None], clock: Clock) -> None:
        self.bus, self.driver = bus, driver
        self._emit, self._clock = emit, clock
        self._trouble = Trouble(bus.id)
        self._streams = bus.module.TRANSPORT == "serial_frame"
        self._due: dict[str, float] = {}  # when a stream's next reading is wanted
        self._heard_at: dict[str, float] = {}
        self._link_down = False

    async def run(self) -> None:
        """Listen for ever."""
        now = self._clock.monotonic()
        self._heard_at = {device.id: now for device in self.bus.devices}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._hear())

    async def _hear(self) -> None:
        while True:
            try:
                heard = self.driver.listen()
                async with contextlib.aclosing(heard):  # type: ignore[type-var]
                    async for item in heard:
                        self._link_down = False
                        self._take(item)
            except LinkDown as error:
                self._link_down = True
                self._trouble.note(self.bus.id, str(error))
            await self._clock.sleep(_REOPEN_S)

    def _take(self, heard: Heard) -> None:
        name = heard.device.id if heard.device else self.bus.id
        if isinstance(heard.said, Malformed):
            self._trouble.note(name, str(heard.said))
            return
        self._trouble.note(self.bus.id, "")
        self._trouble.note(name, "")
        if heard.device is None:
            return
        now = self._clock.monotonic()
        self._heard_at[name] = now
        if self._streams:
            if now < self._due.get(name, 0.0):
                return
            self._due[name] = max(self._due.get(name, now) + self.bus.period_s, now + self.bus.period_s / 2)
        self._emit(_reading(heard.device, heard.said, self._clock.now_ms()))

    async def _watch(self) -> None:
        """Say of each device that has been silent for two and a half of its periods that it is, once a period."""
        periods = {device.id: device.period_s or self.bus.period_s for device in self.bus.devices}
        told = dict(self._heard_at)
        while True:
            await self._clock.sleep(min(*periods.values(), _LOOK_S))
            now = self._clock.monotonic()
            for device in self.bus.devices:
                period_s, heard_at = periods[device.id], self._heard_at[device.id]
                if now - heard_at > 2.5 * period_s and now - max(told[device.id], heard_at) >= period_s:
                    told[device.id] = now
                    why = Quality.LINK_DOWN if self._link_down else Quality.NO_ANSWER
                    self._trouble.note(device.id, "silent")
                    self._emit(no_values(device, device.profile.metrics, self._clock.now_ms(), why))
