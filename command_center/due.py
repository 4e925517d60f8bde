"""What waits for a channel: in which order it goes, and what its people have had lately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from command_center.tables import notices as _notices

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

SINGLES_MS = 600_000
_MOST_READ = 500


def fairly(due: sa.ColumnElement[bool], most_each: int) -> sa.Select[Any]:
    """Ask for what is due, the urgent first, ``most_each`` of a person: in turn: nobody waits behind another's many."""
    c = _notices.c
    order = (c.urgent.desc(), c.rank.desc(), c.due_ms)
    turn = sa.func.row_number().over(partition_by=c.person, order_by=order).label("turn")
    few = sa.select(c.id, turn).where(due).subquery()
    mine = sa.select(_notices).join(few, few.c.id == c.id).where(few.c.turn <= most_each)
    return mine.order_by(c.urgent.desc(), c.rank.desc(), few.c.turn, c.due_ms).limit(_MOST_READ)


async def recent_of(db: AsyncConnection, name: str, people: set[str], now: int) -> dict[str, tuple[int, int]]:
    """Return for each person how many single messages went out in ten minutes by a channel, and when the last digest did."""
    c = _notices.c
    mine = (c.channel == name) & c.person.in_(people)
    lately = sa.select(c.person, sa.func.count()).where(
        mine
        & (c.sent_ms > now - SINGLES_MS)
        & (c.sent_ms <= now)  # later ones are from before the clock was set back
        & ~c.urgent
        & ~c.id.like("digest/%")
    )
    counts = {row[0]: row[1] for row in await db.execute(lately.group_by(c.person))}
    last = (
        sa.select(c.person, sa.func.max(c.sent_ms))
        .where(mine & (c.sent_ms <= now) & c.id.like("digest/%"))
        .group_by(c.person)
    )
    digests = {row[0]: row[1] or 0 for row in await db.execute(last)}
    return {person: (counts.get(person, 0), digests.get(person, 0)) for person in people}
