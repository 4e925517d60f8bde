"""Commands for devices that sleep: told when they next wake, believed when their next report shows it.

An order may wait for hours, so it outlives a restart of the agent, and the bus that lets go of its port.  A set-point
that the report after it does not show is sent again at the next wake; a command is sent once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from edge_agent.driver import LinkDown
from telemetry.commands import CommandState
from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from edge_agent.config import Bus
    from edge_agent.driver import Telling
    from edge_agent.orders import Order
    from telemetry.clock import Clock
    from telemetry.commands import Command, CommandResult
    from telemetry.readings import Reading

    Tell = Callable[[CommandState, str, float | None], Awaitable[CommandResult]]

_SENDINGS = 3
_DAY_S = 86_400.0
_PERIODS = 2.5  # after which a device that has not reported is silent


class Errand:
    """What one device is to be told, and the reports that are waited for."""

    def __init__(self, command: Command, order: Order, *, sent: bool) -> None:
        self.command, self.order, self.sent = command, order, sent
        self.told: asyncio.Future[None] | None = None
        self.report: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.overtaken = ""
        if sent:  # before a restart: whatever is reported since was reported after it
            self.told = asyncio.get_running_loop().create_future()
            self.told.set_result(None)

    def heard(self, said: float) -> None:
        """Take a report; one that was under way when the device was told proves nothing, unless it was told before."""
        told = (
            self.told is not None
            and self.told.done()
            and not self.told.cancelled()
            and self.told.exception() is None
        )
        if not self.report.done() and (told or (self.sent and not self.order.problem(said))):
            self.report.set_result(said)

    def overtake(self, by: str) -> None:
        """Give way to a newer order for the same actuator."""
        self.overtaken = f"overtaken by '{by}'"
        waiting: asyncio.Future[Any] | None
        for waiting in (self.told, self.report):
            if waiting is not None and not waiting.done():
                waiting.set_exception(Refused(self.overtaken))
                waiting.exception()  # whoever waits is told; nobody may


class Sleepers:
    """All errands of an agent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._drivers: dict[str, Telling] = {}
        self._periods: dict[str, float] = {}
        self._errands: dict[str, Errand] = {}  # by actuator
        self._changed = asyncio.Event()

    def serves(self, driver: Telling, bus: Bus) -> None:
        """Tell the devices of ``bus`` through ``driver`` from now on."""
        self._drivers |= dict.fromkeys((device.id for device in bus.devices), driver)
        self._periods |= {device.id: device.period_s or bus.period_s for device in bus.devices}
        self._changed.set()

    def heard(self, reading: Reading) -> None:
        """Take what a device reports."""
        for errand in self._errands.values():
            if errand.order.device.id == reading.device:
                said = reading.values.get(errand.command.metric)
                if said is not None:
                    errand.heard(said)

    async def carry_out(
        self, command: Command, order: Order, tell: Tell, *, sent: bool = False
    ) -> CommandResult:
        """Wait for the device to wake, tell it, and wait for its report; ``sent``: that was before a restart."""
        errand = Errand(command, order, sent=sent)
        if (before := self._errands.get(order.actuator)) is not None:
            before.overtake(command.id)
            self._changed.set()
        self._errands[order.actuator] = errand
        try:
            return await self._run(errand, tell)
        finally:
            if self._errands.get(order.actuator) is errand:
                del self._errands[order.actuator]

    async def _run(self, errand: Errand, tell: Tell) -> CommandResult:
        order, problem = errand.order, ""
        for sending in range(_SENDINGS if order.wanted is not None else 1):
            if sending or not errand.sent:
                try:
                    await self._send(errand)
                except Unavailable as error:
                    if problem:
                        break
                    return await tell(CommandState.EXPIRED, str(error), None)
                except Refused as error:
                    return await tell(CommandState.FAILED, str(error), None)
            if not errand.sent:
                errand.sent = True
                executed = await tell(CommandState.EXECUTED, "", None)
                if order.wanted is None:
                    return executed
            try:
                async with asyncio.timeout(_PERIODS * self._periods.get(order.device.id, _DAY_S)):
                    said = await errand.report
            except TimeoutError:
                problem = f"told, but it has not reported for {_PERIODS:g} of its periods"
            except Refused as error:
                return await tell(CommandState.FAILED, str(error), None)
            else:
                if not (problem := order.problem(said)):
                    return await tell(CommandState.VERIFIED, "", said)
                problem = f"its report {problem}"
            errand.report = asyncio.get_running_loop().create_future()
            errand.told = None
        return await tell(CommandState.FAILED, problem, None)

    async def _send(self, errand: Errand) -> None:
        """Return when the datagram is sent, or when a report already shows what is wanted."""
        device, until = errand.order.device, errand.command.not_after
        while not errand.overtaken:
            left_s = (until - self._clock.now_ms()) / 1000
            driver = self._drivers.get(device.id)
            if left_s <= 0:
                raise Unavailable(f"'{device.id}' did not wake in time")
            if driver is None:
                await self._served(left_s)
                continue
            errand.told = driver.tell(device, errand.order.downlink, left_s)
            waiting: set[asyncio.Future[Any]] = {errand.told, errand.report}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not errand.told.done():
                errand.told.cancel()
                return None
            if errand.report.done() and errand.report.exception() is not None:
                break
            try:
                return errand.told.result()
            except LinkDown:  # the bus has let go of its port; it will be served again
                if self._drivers.get(device.id) is driver:
                    del self._drivers[device.id]
        raise Refused(errand.overtaken)

    async def _served(self, within_s: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            return
