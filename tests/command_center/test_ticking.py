"""What the centre looks at each second: holds, the flood, incidents; each by itself."""

import asyncio
from contextlib import suppress

import msgspec
from desks import WANG, deed, message
from test_lifecycle import transition
from waiting import wait_until

from command_center.app import ticking
from command_center.tables import actions, runs
from command_center.upkeep import keep
from telemetry.faults import Faults
from telemetry.transitions import Change


class Broken:
    """A desk whose holds cannot be read."""

    async def tick(self):
        raise KeyError("hold")


async def test_holds_that_cannot_be_read_keep_no_incident_open(world, clock):
    center, faults = world.center, Faults(clock)
    began, ended = transition(0, Change.BEGAN), transition(1, Change.ENDED)
    await center.desk.take([message(began)])
    await center.desk.do(began.alarm, deed("acknowledge"), WANG)
    await center.desk.take([message(ended, 2)])
    async with center.store.change() as db:  # as if all of its plan were done
        await db.execute(actions.delete())
        await db.execute(runs.delete())
    parts = ticking(msgspec.structs.replace(center, desk=Broken()))
    tasks = [asyncio.create_task(keep(name, part, faults, clock)) for name, part in parts.items()]

    async def is_closed():
        await clock.move(1)
        async with center.store.read() as db:
            found = await center.reader.some(db, only_open=False, limit=9)
        return [one["state"] for one in found] == ["closed"]

    try:
        await wait_until(is_closed)
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    assert faults.count() == 1
