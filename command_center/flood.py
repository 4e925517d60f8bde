"""Flood mode: while more comes than people can answer, the lower colours are gathered sooner.

A flood begins with more than ten alarms in ten minutes for each position and ends with fewer than five (EEMUA 191, ISA-18.2).
It changes how people are told, never what is recorded: red alarms, and the first message to a person in ten minutes,
still go at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from command_center import audit
from command_center.figures import FLOOD_FROM, FLOOD_TO, TEN_MIN_MS
from command_center.holds import CLOCK
from command_center.lifecycle import Alarm
from command_center.tables import alarms as _alarms
from command_center.tables import audit as _audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.store import Store

SINGLE_MOST = 1
"""While it lasts: how many of the lower colours each person gets singly in ten minutes by one channel."""
_BEGAN, _ENDED = "flood.begin", "flood.end"
_MOST = 100_000  # remembered; nobody needs to know how far beyond that it goes


class FloodNow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Since when, UTC ms, and how many alarms came in the last ten minutes, for how many positions."""

    since_ms: int
    alarms: int
    positions: int


class Floods:
    """A follower of the desk that counts what is put before people; :meth:`turn` decides."""

    def __init__(self, positions: int = 1) -> None:
        self._positions = positions
        self._came: dict[str, int] = {}  # by alarm, so that a transaction that is tried again counts once
        self._since_ms: int | None = None

    async def __call__(
        self, _: AsyncConnection, changes: Sequence[tuple[Alarm | None, Alarm]], now_ms: int
    ) -> None:
        """Count the newcomers."""
        for before, after in changes:
            if before is None and _counts(after):
                self._came[after.id] = now_ms

    def now(self) -> FloodNow | None:
        """Return the flood that there is."""
        if self._since_ms is None:
            return None
        return FloodNow(self._since_ms, len(self._came), self._positions)

    async def recover(self, store: Store, now_ms: int) -> None:
        """Know after a restart what came before it, and whether it was a flood."""
        recent = sa.select(_alarms.c.body, _alarms.c.received_ms).where(
            _alarms.c.received_ms > now_ms - TEN_MIN_MS
        )
        last = sa.select(_audit.c.what, _audit.c.at_ms).where(_audit.c.what.in_([_BEGAN, _ENDED]))
        async with store.read() as db:
            for body, received_ms in await db.execute(recent.order_by(_alarms.c.received_ms).limit(_MOST)):
                alarm = msgspec.json.decode(body, type=Alarm)
                if _counts(alarm):
                    self._came[alarm.id] = received_ms
            found = (await db.execute(last.order_by(_audit.c.seq.desc()).limit(1))).first()
        self._since_ms = found.at_ms if found is not None and found.what == _BEGAN else None

    async def turn(self, store: Store, now_ms: int) -> bool:
        """Begin or end the flood, which the audit trail says; return whether that changed anything.

        Raises :class:`Unavailable`, with nothing changed, when the database is away.
        """
        self._forget(now_ms)
        count, was = len(self._came), self._since_ms is not None
        is_flood = count >= FLOOD_TO * self._positions if was else count > FLOOD_FROM * self._positions
        if is_flood == was:
            return False
        told = {"alarms_in_10_min": count, "positions": self._positions}
        async with store.change() as db:
            await audit.write(
                db, now_ms, CLOCK, _BEGAN if is_flood else _ENDED, "desk",
                before={"since_ms": self._since_ms} if was else None, after=told,
            )  # fmt: skip
        self._since_ms = now_ms if is_flood else None
        return True

    def shift(self, by_ms: int) -> None:
        """The clock was set: what came so long ago still lies so long back."""
        self._came = {key: at + by_ms for key, at in self._came.items()}
        self._since_ms = None if self._since_ms is None else self._since_ms + by_ms

    def _forget(self, now_ms: int) -> None:
        while self._came:
            oldest = next(iter(self._came))
            if self._came[oldest] > now_ms - TEN_MIN_MS and len(self._came) <= _MOST:
                break
            del self._came[oldest]


def _counts(alarm: Alarm) -> bool:
    return alarm.pages and not alarm.by_design
