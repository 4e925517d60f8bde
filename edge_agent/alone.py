"""A write by hand where no agent runs: with what the agent remembers of its actuators, and on its record.

The agent's outbox is opened as the agent itself would open it, so interlocks hold across both, and the cloud learns of
the action when the agent next runs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from edge_agent.byhand import read_once
from edge_agent.commands import Commander
from edge_agent.gather import shape_of
from edge_agent.identity import Identities
from edge_agent.orders import order_for
from edge_agent.record import Recorder
from edge_agent.storage import on_disk
from telemetry.clock import SystemClock
from telemetry.commands import CommandResult, CommandState
from telemetry.errors import Refused, Unavailable
from telemetry.keeper import Keeper

if TYPE_CHECKING:
    from edge_agent.config import AgentConfig, Bus
    from edge_agent.driver import Device, Polled
    from telemetry.commands import Command

_WAY_OUT = "start the agent, or insist with --force-without-agent"


class _Lane:
    """A bus that nobody polls."""

    def __init__(self, bus: Bus, driver: Polled) -> None:
        self.bus, self.driver = bus, driver
        self.line, self.is_live = asyncio.Lock(), True
        self._identities = Identities()

    async def assure(self, device: Device) -> None:
        """Raise :class:`Refused` for the wrong device on the port."""
        question = self._identities.question(device, self.driver.opened)
        if question is None:
            return
        words = await self.driver.read(device, question)
        if problem := self._identities.answer(device, self.driver.opened, question, words):
            raise Refused(problem)

    def refresh(self, device: str) -> None:
        """Nobody polls."""


async def write_alone(config: AgentConfig, bus: Bus, command: Command) -> CommandResult:
    """Carry a command out over the bus itself; raise :class:`Refused` where its interlock cannot be held."""
    device = next(device for device in bus.devices if device.id == command.device)
    spare = order_for(command, device).interlock
    if not config.outbox.path.exists():
        if spare.dwell_s or spare.most_per_hour:
            raise Refused(
                f"'{command.device}' must be spared, and there is no {config.outbox.path} that tells when it last acted;"
                f" {_WAY_OUT}"
            )
        return await write_forced(bus, command)
    clock = SystemClock()
    try:
        outbox = on_disk(config, clock)
    except Unavailable as error:
        raise Refused(f"the agent's memory of its actuators cannot be used: {error}; {_WAY_OUT}") from None
    async with Keeper(outbox) as keeper, bus.module.Driver(bus.link, bus.devices) as driver:
        recorder = Recorder(shape_of(config), clock)
        devices = {device.id: device for bus in config.buses for device in bus.devices}
        commander = Commander(config.commands, devices, keeper, recorder, clock)
        await commander.restore()
        commander.serves(_Lane(bus, driver))
        running = asyncio.ensure_future(commander.run())
        try:
            taken = await commander.take(command)
            return taken if isinstance(taken, msgspec.Struct) else await taken
        finally:
            running.cancel()
            await asyncio.wait({running})


async def write_forced(bus: Bus, command: Command) -> CommandResult:
    """Carry a command out and leave no trace: only range, allowed values and the device's identity hold."""
    device = next(device for device in bus.devices if device.id == command.device)
    order = order_for(command, device)
    async with bus.module.Driver(bus.link, bus.devices) as driver:
        await read_once(driver, device, command.metric)  # the right device, and it answers
        for step in order.writes:
            await driver.write(device, step)
        sample = await read_once(driver, device, command.metric)
    said = sample.value if sample.text is None else sample.text
    problem = order.problem(said)
    return CommandResult(
        command.id, command.device, CommandState.FAILED if problem else CommandState.VERIFIED, 0, command.metric,
        command.value, read_back=sample.value, problem=problem, text=command.text, text_back=sample.text,
    )  # fmt: skip
