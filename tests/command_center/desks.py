"""A desk without a process around it, on a clock that a test moves, over each database there is."""

import asyncio
from contextlib import asynccontextmanager

from command_center.audit import Act
from command_center.deeds import Deed
from command_center.desk import Desk
from command_center.store import Store
from telemetry.transitions import AlarmMessage

T0 = 1_764_000_000_000
WANG, LI = Act("王建国", "10.0.0.1"), Act("李娜", "10.0.0.2")


class HandClock:
    """Time that a test moves; a sleep ends when the time has come."""

    def __init__(self, now_ms=T0):
        self.now = now_ms
        self._moved = asyncio.Condition()

    def now_ms(self):
        return self.now

    def monotonic(self):
        return self.now / 1000

    async def sleep(self, seconds):
        until = self.now + seconds * 1000
        async with self._moved:
            await self._moved.wait_for(lambda: self.now >= until)

    async def move(self, seconds):
        self.now += int(seconds * 1000)
        async with self._moved:
            self._moved.notify_all()


@asynccontextmanager
async def opened(url, clock, **options):
    async with Store(url) as store:
        desk = Desk(store, clock, **options)
        desk.store = store
        yield desk


def message(transition, seq=1):
    return AlarmMessage("ingest-1", "boot", seq, 0, transition)


async def take(desk, *transitions):
    return await desk.take([message(one, n) for n, one in enumerate(transitions, 1)])


def deed(kind, text="", **more):
    return Deed(kind, text, **more)
