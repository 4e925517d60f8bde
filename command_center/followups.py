"""Asks vendors that tell nothing by themselves what became of the messages they accepted.

A channel with ``check(provider_id, address)`` is asked a few times about each message, at ages at which the answer
may have changed; what it says counts as what other vendors report.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec
import sqlalchemy as sa

from command_center.channel import Report, broken
from command_center.notices import Body
from command_center.tables import notices as _notices
from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from command_center.channel import Receipt
    from command_center.store import Store
    from telemetry.clock import Clock
    from telemetry.faults import Faults

AGES_S = (2.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0)
"""How long after sending it is asked; a person who never gets it is moved on after the first."""
_MOST = 20
_PAUSE_MS = 1000
_OPEN = ("accepted", "delivered")


@runtime_checkable
class Asked(Protocol):
    """A channel that can be asked."""

    async def check(self, provider_id: str, address: str) -> Receipt | None:
        """Return what became of a message; None while the vendor does not know."""


class Followups:
    """Of one channel; ``report`` takes what its vendor said.  What was asked is forgotten at a restart and asked once more."""

    def __init__(
        self, store: Store, channel: tuple[str, Asked], clock: Clock,
        report: Callable[[str, Sequence[Report]], Awaitable[object]], faults: Faults,
    ) -> None:  # fmt: skip
        self._store, self._clock, self._report, self._faults = store, clock, report, faults
        self.name, self._channel = channel
        self._times: dict[str, int] = {}
        self._looked_ms = 0

    async def turn(self) -> None:
        """Ask about what is due, all at once: no message waits for what is said of another."""
        now, c = self._clock.now_ms(), _notices.c
        if abs(now - self._looked_ms) < _PAUSE_MS:
            return
        self._looked_ms = now
        mine = (c.channel == self.name) & c.state.in_(_OPEN) & c.provider_id.is_not(None)
        recent = (c.sent_ms > now - int(2000 * AGES_S[-1])) & (c.sent_ms <= now - int(1000 * AGES_S[0]))
        async with self._store.read() as db:
            known = (
                await db.execute(sa.select(c.id, c.sent_ms).where(mine & recent).order_by(c.sent_ms.desc()))
            ).all()
            self._times = {row.id: self._times.get(row.id, 0) for row in known}
            due = [row.id for row in known if self._times[row.id] < _ages_past(now - row.sent_ms)]
            first = sa.select(_notices).where(c.id.in_(due[:_MOST]))
            rows = (await db.execute(first)).all() if due else []
        async with asyncio.TaskGroup() as tasks:
            for row in rows:
                self._times[row.id] = _ages_past(now - row.sent_ms)
                tasks.create_task(self._ask(row))

    async def _ask(self, row: Any) -> None:
        address = msgspec.json.decode(row.body, type=Body).address
        try:
            receipt = await self._channel.check(row.provider_id, address)
        except (Unavailable, Refused):
            return  # it is asked again at a later age
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs this message alone
            receipt = broken(self.name, error)
        if receipt is None or receipt.outcome in {row.state, "failed_temp"}:
            return
        with self._faults.spared("receipts"):
            try:
                await self._report(self.name, [Report(row.provider_id, receipt.outcome, receipt.code)])
            except Unavailable:  # the database is away: the vendor will say it once more
                self._times.pop(row.id, None)


def of(
    store: Store, channels: Mapping[str, object], clock: Clock,
    report: Callable[[str, Sequence[Report]], Awaitable[object]], faults: Faults,
) -> list[Followups]:  # fmt: skip
    """Return those of the channels that can be asked: a vendor that is slow keeps nobody waiting for another's word."""
    asked = ((name, channel) for name, channel in channels.items() if isinstance(channel, Asked))
    return [Followups(store, channel, clock, report, faults) for channel in asked]


def _ages_past(age_ms: int) -> int:
    return sum(age_ms >= age * 1000 for age in AGES_S)
