"""Puts one agent together and takes it apart again in order: buses, gatherer, uplink, outbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from edge_agent.bus import run_bus
from edge_agent.gather import GapMessage, Gatherer
from edge_agent.uplink import Uplink
from telemetry.clock import Clock, SystemClock
from telemetry.errors import Unavailable
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox

if TYPE_CHECKING:
    from edge_agent.config import AgentConfig

_DRAIN_S = 5.0
log = structlog.get_logger()


async def run(config: AgentConfig, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the agent until ``stop`` is set, then send what is left for at most five seconds."""
    clock = clock or SystemClock()
    outbox = Outbox.open(
        config.outbox.path,
        max_bytes=config.outbox.max_bytes,
        gap_message=GapMessage(config.agent),
        now_ms=clock.now_ms,
    )
    if aside := outbox.note("moved_aside"):
        log.error("outbox_was_corrupt", moved_to=aside)
    log.info(
        "agent_up", agent=config.agent, buses=len(config.buses), devices=sum(len(bus.devices) for bus in config.buses),
        boot=outbox.boot, waiting=outbox.counters().messages,
    )  # fmt: skip
    async with Keeper(outbox) as keeper:
        gatherer = Gatherer(config.agent, keeper, clock)
        async with asyncio.TaskGroup() as links:
            uplink = links.create_task(Uplink(config, keeper, clock).run())
            async with asyncio.TaskGroup() as readers:
                tasks = [readers.create_task(run_bus(bus, gatherer.take, clock)) for bus in config.buses]
                tasks.append(readers.create_task(gatherer.run()))
                await stop.wait()
                for task in tasks:
                    task.cancel()
            await _drain(gatherer, keeper)
            uplink.cancel()
    log.info("agent_down", agent=config.agent)


async def _drain(gatherer: Gatherer, keeper: Keeper) -> None:
    try:
        async with asyncio.timeout(_DRAIN_S):
            await gatherer.flush()
            while (await keeper.counters()).messages:
                keeper.changed.clear()
                if (await keeper.counters()).messages:
                    await keeper.changed.wait()
    except TimeoutError:
        log.info("uploads_wait_for_the_next_start", messages=(await keeper.counters()).messages)
    except Unavailable as error:
        log.error("readings_lost_at_stop", problem=str(error))
