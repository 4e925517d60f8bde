"""Asks vendors that tell nothing by themselves what became of the messages they accepted.

A channel with ``check(provider_id, address)`` is asked a few times about each message, at ages at which the answer
may have changed; what it says counts as what other vendors report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import sqlalchemy as sa

from command_center.channel import Report
from command_center.notices import Body
from command_center.tables import notices as _notices
from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from command_center.channel import Receipt
    from command_center.store import Store
    from telemetry.clock import Clock

AGES_S = (2.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0)
"""How long after sending it is asked; a person who never gets it is moved on after the first."""
_MOST = 20
_PAUSE_MS = 1000
_OPEN = ("accepted", "delivered")


class Asked(Protocol):
    """A channel that can be asked."""

    async def check(self, provider_id: str, address: str) -> Receipt | None:
        """Return what became of a message; None while the vendor does not know."""


class Followups:
    """Of all channels; ``report`` takes what a vendor said.  What was asked is forgotten at a restart and asked once more."""

    def __init__(
        self, store: Store, channels: Mapping[str, Any], clock: Clock,
        report: Callable[[str, Sequence[Report]], Awaitable[object]],
    ) -> None:  # fmt: skip
        self._store, self._clock, self._report = store, clock, report
        self._channels: dict[str, Asked] = {n: one for n, one in channels.items() if hasattr(one, "check")}
        self._times: dict[str, int] = {}
        self._looked_ms = 0

    async def turn(self) -> None:
        """Ask about what is due."""
        now, c = self._clock.now_ms(), _notices.c
        if not self._channels or abs(now - self._looked_ms) < _PAUSE_MS:
            return
        self._looked_ms = now
        mine = c.channel.in_(self._channels) & c.state.in_(_OPEN) & c.provider_id.is_not(None)
        recent = (c.sent_ms > now - int(2000 * AGES_S[-1])) & (c.sent_ms <= now - int(1000 * AGES_S[0]))
        async with self._store.read() as db:
            known = (
                await db.execute(sa.select(c.id, c.sent_ms).where(mine & recent).order_by(c.sent_ms.desc()))
            ).all()
            self._times = {row.id: self._times.get(row.id, 0) for row in known}
            due = [row.id for row in known if self._times[row.id] < _ages_past(now - row.sent_ms)]
            first = sa.select(_notices).where(c.id.in_(due[:_MOST]))
            rows = (await db.execute(first)).all() if due else []
        for row in rows:
            self._times[row.id] = _ages_past(now - row.sent_ms)
            await self._ask(row)

    async def _ask(self, row: Any) -> None:
        address = msgspec.json.decode(row.body, type=Body).address
        try:
            receipt = await self._channels[row.channel].check(row.provider_id, address)
        except (Unavailable, Refused):
            return  # it is asked again at a later age
        if receipt is not None and receipt.outcome not in {row.state, "failed_temp"}:
            await self._report(row.channel, [Report(row.provider_id, receipt.outcome, receipt.code)])


def _ages_past(age_ms: int) -> int:
    return sum(age_ms >= age * 1000 for age in AGES_S)
