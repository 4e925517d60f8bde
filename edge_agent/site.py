"""What an agent does at its site besides reading: commands, judgement, linkage, and a technician's hand."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from edge_agent.byhand import Sample, by_hand, read_once
from edge_agent.commands import Commander
from edge_agent.linkage import Linkages
from edge_agent.poller import Poller
from edge_agent.record import Recorder
from telemetry import topics
from telemetry.commands import CommandResult, CommandState
from telemetry.errors import YemaiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from edge_agent.bus import Listener
    from edge_agent.config import AgentConfig
    from edge_agent.gather import Shape
    from edge_agent.judgement import Judge
    from edge_agent.learned import Learned
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper
    from telemetry.readings import Reading

_SETTLE_S = 5.0
_BY_HAND_MS = 10_000
_DAY_MS = 24 * 3_600_000


class Site:
    """Puts commander, judge and linkages together."""

    def __init__(
        self,
        config: AgentConfig,
        keeper: Keeper,
        shape: Shape,
        clock: Clock,
        at_once: Callable[[Reading], None],
        learned: Learned,
    ) -> None:
        self._config, self._clock, self._learned = config, clock, learned
        self._devices = {device.id: device for bus in config.buses for device in bus.devices}
        self._pollers: dict[str, Poller] = {}
        recorder = Recorder(shape, clock)
        self.commander = Commander(config.commands, self._devices, keeper, recorder, clock)
        self._judge = _judge(config, keeper, recorder, clock, at_once)
        if self._judge is not None:
            self._judge.linkages = Linkages(config.linkage, self.commander, clock)

    async def restore(self) -> None:
        """Take up what was known before the restart."""
        await self.commander.restore()
        if self._judge is not None:
            await self._judge.restore()

    def serves(self, reader: Poller | Listener) -> None:
        """Reach a bus's devices through who reads it."""
        if isinstance(reader, Poller):
            self._pollers |= {device.id: reader for device in reader.bus.devices}
        self.commander.serves(reader)

    def take(self, reading: Reading) -> None:
        """Judge a reading; never waits."""
        self.commander.heard(reading)
        if self._judge is not None:
            self._judge.take(reading)

    @property
    def metrics(self) -> dict[str, float]:
        """The agent's own figures: the fullest bus, silent devices, limits that models have taught, commands that wait."""
        pollers = set(self._pollers.values())
        return {
            "bus_utilisation": max((poller.plan.used for poller in pollers), default=0.0),
            "silent_devices": float(sum(poller.silent_devices for poller in pollers)),
            "learned_limits": float(self._learned.count),
            "commands_waiting": float(self.commander.waiting),
            **({"untold_refusals": float(untold)} if (untold := self.commander.untold) else {}),
        }

    async def run(self) -> None:
        """Work, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.commander.run())
            if self._judge is not None:
                tasks.create_task(self._judge.run())

    async def at_rest(self) -> None:
        """Return when no alarm waits for its answer and no command is under way on a polled bus."""
        if self._judge is not None:
            await self._judge.at_rest()
        await self.commander.at_rest()

    async def settle(self) -> None:
        """Put on record what the outbox has not taken yet, if it takes it now."""
        await self.commander.settle()
        if self._judge is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE_S):
                    await self._judge.settle()

    @property
    def hears(self) -> Mapping[str, Callable[[bytes], Awaitable[None]]]:
        """What to do with messages on the agent's topics."""
        return {topics.cmd(self._config.area, self._config.agent): self.commander.hear}

    @property
    def answers(self) -> Mapping[str, Callable[..., Awaitable[bytes]]]:
        """What to answer on the agent's own machine."""
        return {"read": self._read, "write": self._write}

    async def _read(self, device: str = "", metric: str = "", *_: str) -> bytes:
        poller = self._pollers.get(device)
        if poller is None or not poller.is_live:
            return _problem(device, metric, "no such device on a polled bus")
        try:
            async with poller.line:
                return msgspec.json.encode(await read_once(poller.driver, self._devices[device], metric))
        except YemaiError as error:
            return _problem(device, metric, str(error))

    async def _write(self, device: str = "", metric: str = "", value: str = "", *_: str) -> bytes:
        """Set a metric, or a text."""
        try:
            asleep = self.commander.sleeps(device)
            command = by_hand(
                device, metric, value, self._clock.now_ms() + (_DAY_MS if asleep else _BY_HAND_MS)
            )
            taken = await self.commander.take(command)
            if asleep and not isinstance(
                taken, msgspec.Struct
            ):  # it may sleep for hours: accepted is all there is
                return msgspec.json.encode(
                    CommandResult(command.id, command.device, CommandState.ACCEPTED, self._clock.now_ms())
                )
            return msgspec.json.encode(taken if isinstance(taken, msgspec.Struct) else await taken)
        except (YemaiError, ValueError) as error:
            return _problem(device, metric, str(error))


def _problem(device: str, metric: str, problem: str) -> bytes:
    return msgspec.json.encode(Sample(device, metric, problem=problem))


def _judge(
    config: AgentConfig, keeper: Keeper, recorder: Recorder, clock: Clock, at_once: Callable[[Reading], None]
) -> Judge | None:
    """Return the judge; None where it is switched off, which saves the memory that numpy takes."""
    if not config.judgement.local:
        return None
    devices = [device for bus in config.buses for device in bus.devices]
    classes = {device.id: device.profile.device_class for device in devices}
    sites = {device.id: device.site for device in devices if device.site}
    from edge_agent.judgement import Judge, edge_rules  # noqa: PLC0415 - see above

    packs = edge_rules(set(classes.values()), config.judgement, config.path)
    return Judge(classes, packs, sites, keeper, recorder, clock, at_once)
