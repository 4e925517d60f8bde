"""A dry run of a configuration: what is new in it is polled once before it is put in force.

The buses of the running configuration must have let go of their ports.  A configuration is worse, and refused,
when a device that answers today does not answer with it, when none of a bus's devices answers, or when one that must
prove who it is turns out to be another.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from device_profiles.registers import blocks
from edge_agent.driver import Exceptional, Polled
from edge_agent.identity import Identities
from telemetry.errors import Refused, YemaiError

if TYPE_CHECKING:
    from collections.abc import Collection

    from edge_agent.config import AgentConfig, Bus
    from edge_agent.driver import Device

_TRIES = 2
_LISTEN_S = 1.0  # a port that can be opened at all is open by then
_LONGEST_S = 60.0


async def try_out(new: AgentConfig, now: AgentConfig, answering: Collection[str]) -> str:
    """Return what is worse with ``new`` than with ``now``, empty when nothing is.

    :param answering: devices that answer today.
    """
    today = {bus.id: bus for bus in now.buses}
    changed = [bus for bus in new.buses if today.get(bus.id) != bus]
    async with asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(_try_bus(bus)) for bus in changed]
    problems = []
    for bus, run in zip(changed, runs, strict=True):
        silent, wrong = run.result()
        if wrong:
            problems.append(f"{wrong[0]} on {bus.id}: {silent[wrong[0]]}")
            continue
        lost = [device for device in silent if device in answering]
        if lost:
            problems.append(f"{lost[0]} on {bus.id} answers today and would not: {silent[lost[0]]}")
        elif len(silent) == len(bus.devices):
            device, problem = next(iter(silent.items()))
            problems.append(f"no device of {bus.id} answers: {device}: {problem}")
    return "; ".join(problems)


async def _try_bus(bus: Bus) -> tuple[dict[str, str], list[str]]:
    """Return what is wrong with each device that does not answer, and which of them are other devices."""
    silent, wrong = {device.id: "not asked in time" for device in bus.devices}, []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LONGEST_S), bus.module.Driver(bus.link, bus.devices) as driver:
            if isinstance(driver, Polled):
                for device in bus.devices:
                    try:
                        problem = await _prove(driver, device) or await _ask(driver, device)
                    except Refused as error:
                        problem = str(error)
                        wrong.append(device.id)
                    silent[device.id] = problem
                    if not problem:
                        del silent[device.id]
            elif not (problem := await _listen(driver)):
                silent.clear()
            else:
                silent = dict.fromkeys(silent, problem)
    return silent, wrong


async def _prove(driver: Polled, device: Device) -> str:
    """Return why the serial number cannot be read; raise :class:`Refused` where it is another device's."""
    identities = Identities()
    question = identities.question(device, driver.opened)
    if question is None:
        return ""
    problem = ""
    for _ in range(_TRIES):
        try:
            words = await driver.read(device, question)
        except YemaiError as error:
            problem = str(error)
            continue
        if wrong := identities.answer(device, driver.opened, question, words):
            raise Refused(wrong)
        return ""
    return problem


async def _ask(driver: Polled, device: Device) -> str:
    """Return why none of the device's blocks can be read; one that can be is enough."""
    problem = ""
    for _ in range(_TRIES):
        for block in blocks(device.profile):
            try:
                await driver.read(device, block)
            except Exceptional as error:  # an illegal hole: the next block may have none
                problem = str(error)
            except YemaiError as error:
                problem = str(error)
                break
            else:
                return ""
    return problem


async def _listen(driver: object) -> str:
    """Devices that speak when they like may be silent for hours: only the port is tried."""
    heard = driver.listen()  # type: ignore[attr-defined]
    async with contextlib.aclosing(heard):
        try:
            async with asyncio.timeout(_LISTEN_S):
                await anext(heard)
        except TimeoutError:
            return ""
        except YemaiError as error:
            return str(error)
    return ""
