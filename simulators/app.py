"""Serves a whole district: every bus a server, one clock tick for all of the world."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from simulators.city import City
from simulators.control import make_app
from simulators.frames import serve_datagrams, serve_stream
from simulators.modbus import serve_rtu, serve_tcp
from simulators.scenarios import Stage, load_scenarios
from telemetry.clock import Clock, SystemClock
from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from simulators.district import Bus, District

TICK_S = 0.2


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a bus is: a TCP port to listen on, a line's name, or a UDP address to send to."""

    port: int = 0
    host: str = "127.0.0.1"
    link: Path | None = None


class RunPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The run file: which bus is where."""

    seed: int
    control_port: int
    buses: dict[str, End]


async def serve(
    district: District, plan: RunPlan, *, stop: asyncio.Event, clock: Clock | None = None
) -> None:
    """Serve the district until ``stop`` is set; raise :class:`ConfigError` for a bus without an end."""
    clock = clock or SystemClock()
    city = City(district, plan.seed, Stage(load_scenarios(district)))
    city.refresh(clock.now_ms())
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [tasks.create_task(_turn(city, clock))]
        for bus in district.buses:
            if bus.id not in plan.buses:
                raise ConfigError("run file", f"$.buses.{bus.id}", "missing")
            if bus.kind == "modbus_tcp":
                things = [city.things[device.id] for device in bus.devices]
                await stack.enter_async_context(serve_tcp(things, plan.buses[bus.id].port, clock))
            else:
                running.append(tasks.create_task(_serve(bus, plan.buses[bus.id], city, clock)))
        runner = web.AppRunner(make_app(city, clock), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", plan.control_port).start()
        await stop.wait()
        for task in running:
            task.cancel()


async def _turn(city: City, clock: Clock) -> None:
    while True:
        city.refresh(clock.now_ms())
        await clock.sleep(TICK_S)


async def _serve(bus: Bus, end: End, city: City, clock: Clock) -> None:
    things = [city.things[device.id] for device in bus.devices]
    if bus.kind == "nbiot_udp":
        await serve_datagrams(things, end.host, end.port, bus.period_s, clock)
        return
    if end.link is None:
        raise ConfigError("run file", f"$.buses.{bus.id}", "a serial bus needs 'link'")
    if bus.kind == "serial_frame":
        await serve_stream(things[0], end.link, clock)
    else:
        await serve_rtu(things, end.link, bus.baud, clock)
