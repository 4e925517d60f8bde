"""A clock that a step of the machine's own does not take along, and what is done when one is seen.

::

    wall clock       ──────────┐ stepped by an hour
    this clock       ───────────────────┐ adopted, once every timer that runs was moved by the same hour
    monotonic clock  ─────────────────────────────

So a chain that was to go on in a minute goes on in a minute, and a shelf of a quarter of an hour lasts as long, whichever way
the clock was set.  What people plan by the calendar (maintenance, rosters, quiet hours) goes by the new time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
import structlog

from command_center.lifecycle import Alarm, Hold
from command_center.tables import alarms as _alarms
from command_center.tables import holds as _holds
from command_center.tables import notices as _notices
from command_center.tables import steps as _steps
from telemetry.clock import Clock, TimeMs
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.store import Store

STEP_MS = 1000
"""What differs by less is drift and adopted as it comes."""
CHECK_S = 1.0
log = structlog.get_logger()


class SteadyClock:
    """The time of ``clock`` as it was, carried on by its monotonic clock, until a step is adopted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = clock.now_ms() - clock.monotonic() * 1000

    def now_ms(self) -> TimeMs:
        """Return UTC milliseconds."""
        return TimeMs(int(self._offset_ms + self._clock.monotonic() * 1000))

    def monotonic(self) -> float:
        """Return seconds that never step back."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the monotonic clock."""
        await self._clock.sleep(seconds)

    def step_ms(self) -> int:
        """Return by how much the machine's clock is ahead of this one."""
        return self._clock.now_ms() - self.now_ms()

    def adopt(self, step_ms: int) -> None:
        """Move by so much."""
        self._offset_ms += step_ms


async def check(clock: SteadyClock, store: Store, moved: Callable[[int], None]) -> None:
    """Look once; ``moved`` hears of a step of so many ms when every timer was moved along.

    Raises :class:`Unavailable`, with nothing adopted, when the database is away.
    """
    step = clock.step_ms()
    if abs(step) >= STEP_MS:
        async with store.change() as db:
            await shift(db, step)
        log.warning("clock_stepped", seconds=step / 1000, timers="moved along")
        moved(step)
    clock.adopt(step)


async def watch(clock: SteadyClock, store: Store, moved: Callable[[int], None]) -> None:
    """Look for steps for ever."""
    while True:
        try:
            await check(clock, store, moved)
        except Unavailable as error:
            log.warning("clock_step_waits", problem=str(error))
        await clock.sleep(CHECK_S)


async def shift(db: AsyncConnection, by_ms: int) -> None:
    """Move every timer that runs: steps and notices that wait, shelves that stand."""
    waits = _steps.c.state == "pending"
    await db.execute(_steps.update().where(waits).values(due_ms=_steps.c.due_ms + by_ms))
    waits = _notices.c.state.in_(["pending", "sending"])
    later = {"due_ms": _notices.c.due_ms + by_ms, "created_ms": _notices.c.created_ms + by_ms}
    await db.execute(_notices.update().where(waits).values(**later))
    standing = (_holds.c.kind == "shelved") & _holds.c.over_ms.is_(None)
    rows = (await db.execute(sa.select(_holds).where(standing))).all()
    for row in rows:
        hold = _later(msgspec.json.decode(row.body, type=Hold), by_ms)
        values = {"until_ms": hold.until_ms, "body": msgspec.json.encode(hold)}
        await db.execute(_holds.update().where(_holds.c.id == row.id).values(**values))
        mine = (_alarms.c.device == row.device) & (_alarms.c.rule == row.rule) & _alarms.c.is_open
        for key, body in (await db.execute(sa.select(_alarms.c.id, _alarms.c.body).where(mine))).all():
            alarm = msgspec.json.decode(body, type=Alarm)
            if alarm.shelf:
                alarm = msgspec.structs.replace(alarm, shelf=_later(alarm.shelf, by_ms))
                moved = msgspec.json.encode(alarm)
                await db.execute(_alarms.update().where(_alarms.c.id == key).values(body=moved))


def _later(hold: Hold, by_ms: int) -> Hold:
    return msgspec.structs.replace(hold, until_ms=hold.until_ms + by_ms)
