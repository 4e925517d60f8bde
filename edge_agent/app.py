"""Puts one agent together and takes it apart again in order: buses, gatherer, uplink, outbox."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from importlib import metadata
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge_agent import local
from edge_agent.budget import Budget
from edge_agent.buffer import Buffer
from edge_agent.bus import run_bus
from edge_agent.gather import GapMessage, Gatherer, Shape
from edge_agent.learned import Learned
from edge_agent.report import Reporter
from edge_agent.status import Board
from edge_agent.upkeep import keep_up
from edge_agent.uplink import Uplink
from edge_agent.watchdog import notify, watch
from telemetry.clock import Clock, SystemClock
from telemetry.errors import Unavailable
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox

if TYPE_CHECKING:
    from edge_agent.config import AgentConfig
    from telemetry.readings import AgentStatus, Reading

_DRAIN_S = 5.0
log = structlog.get_logger()


async def run(config: AgentConfig, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the agent until ``stop`` is set, then send what is left for at most five seconds."""
    clock = clock or SystemClock()
    outbox = Outbox.open(
        config.outbox.path,
        max_bytes=config.outbox.max_bytes,
        gap_message=GapMessage(config.agent, config.uplink.module.CODEC),
        now_ms=clock.now_ms,
    )
    if aside := outbox.note("moved_aside"):
        log.error("outbox_was_corrupt", moved_to=aside)
    async with Keeper(outbox) as keeper, AsyncExitStack() as stack:
        agent = await _Agent.make(config, keeper, clock)
        log.info(
            "agent_up", agent=config.agent, buses=len(config.buses), devices=sum(len(bus.devices) for bus in config.buses),
            boot=outbox.boot, waiting=(await keeper.counters()).messages,
        )  # fmt: skip
        await stack.enter_async_context(
            local.answering(config.socket, {"status": agent.answer, "ping": agent.pong})
        )
        await agent.live(stop)
    log.info("agent_down", agent=config.agent)


class _Agent:
    """One life of an agent, from its configuration to its end or the next configuration."""

    def __init__(
        self, config: AgentConfig, keeper: Keeper, clock: Clock, buffer: Buffer, budget: Budget
    ) -> None:
        self._config, self._keeper, self._clock = config, keeper, clock
        way = config.uplink.module
        classes = {d.id: d.profile.device_class for bus in config.buses for d in bus.devices}
        self._reporter = Reporter(config.report, classes)
        self._gatherer = Gatherer(
            Shape(config.agent, way.CODEC, way.MOST_BYTES), keeper, clock, self._reporter, buffer
        )
        self._buffer = buffer
        self._learned = Learned(config.outbox.path.with_suffix(".learned.json"))
        self._board = Board(config, clock, metadata.version("yemai"))
        self._uplink = Uplink(config, keeper, clock, budget, self._status, {})
        self._board.knows(keeper, self._gatherer, self._uplink, buffer)

    @classmethod
    async def make(cls, config: AgentConfig, keeper: Keeper, clock: Clock) -> _Agent:
        """Take up what an earlier process has left in the outbox."""
        notes = await keeper.look(lambda box: {key: box.note(key) for key in ("buffer", "budget")})
        buffer = Buffer(config.outbox, clock, notes["buffer"])
        budget = Budget(config.uplink.budget_bytes_per_day, clock, notes["budget"])
        agent = cls(config, keeper, clock, buffer, budget)
        await agent._gatherer.restore()
        return agent

    async def live(self, stop: asyncio.Event) -> None:
        """Read and send until ``stop`` is set."""
        config, clock = self._config, self._clock
        async with asyncio.TaskGroup() as links:
            uplink = links.create_task(self._uplink.run())
            async with asyncio.TaskGroup() as readers:
                tasks = [
                    readers.create_task(run_bus(bus, self._take, clock, self._learned))
                    for bus in config.buses
                ]
                tasks += [
                    readers.create_task(self._gatherer.run()),
                    readers.create_task(keep_up(self._keeper, self._buffer, config.outbox.max_bytes, clock)),
                    readers.create_task(watch(clock, self._lives)),
                ]
                notify("READY=1")
                await stop.wait()
                notify("STOPPING=1")
                for task in tasks:
                    task.cancel()
            await self._drain()
            uplink.cancel()

    async def answer(self) -> bytes:
        """Return what ``yemai edge status`` shows."""
        return msgspec.json.encode(await self._board.snapshot())

    async def pong(self) -> bytes:
        """Return that this agent lives."""
        return b"{}"

    def _take(self, reading: Reading) -> None:
        self._board.take(reading)
        self._gatherer.take(reading)

    def _status(self, since: int | None) -> AgentStatus:
        return self._board.telling(self._keeper.boot, self._keeper.size, since)

    async def _lives(self) -> str:
        used = await self._keeper.look(lambda box: box.size)
        way = "up" if self._uplink.up.is_set() else f"down: {self._uplink.problem or 'connecting'}"
        return f"uplink {way}; {used} bytes wait"

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(_DRAIN_S):
                await self._gatherer.flush(ending=True)
                while (await self._keeper.counters()).messages:
                    self._keeper.changed.clear()
                    if (await self._keeper.counters()).messages:
                        await self._keeper.changed.wait()
        except TimeoutError:
            log.info("uploads_wait_for_the_next_start", messages=(await self._keeper.counters()).messages)
        except Unavailable as error:
            log.error("readings_lost_at_stop", problem=str(error))
