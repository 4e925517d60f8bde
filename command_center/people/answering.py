"""A link in a message by which the person it was sent to acknowledges its alarm: once, within a day, and as himself.

The link opens a page and nothing more: programs that look at links before people do acknowledge nothing.  What stands in
it is random and only its hash is kept, with the notice, the alarm and the person it was made for.  Who may not
acknowledge when it is pressed may not by it either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from command_center.people import users
from command_center.people.rights import Person, Right, rights_of
from command_center.people.sessions import hash_of, new_key
from command_center.tables import answer_links as table
from command_center.tables import users as _users
from telemetry.errors import Refused

if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy.ext.asyncio import AsyncConnection

LASTS_MS = 24 * 3_600_000
RIGHT: Right = "alarm.acknowledge"


class Link(msgspec.Struct, frozen=True):
    """What a link is good for."""

    notice: str
    alarm: str
    person: str
    channel: str


def made(link: Link, now: int) -> tuple[str, dict[str, Any]]:
    """Return the token of a new link, and the row to keep of it."""
    token = new_key()
    return token, {
        "key": hash_of(token), **msgspec.structs.asdict(link), "ends_ms": now + LASTS_MS, "used_ms": None,
    }  # fmt: skip


async def keep(db: AsyncConnection, rows: list[dict[str, Any]], now: int) -> None:
    """Keep new links, and forget those whose time was up a month ago."""
    if rows:
        await db.execute(table.delete().where(table.c.ends_ms < now - 30 * LASTS_MS))
        await db.execute(table.insert(), rows)


async def find(db: AsyncConnection, token: str, now: int) -> Link:
    """Return a link that is still good; raise :class:`Refused` for any other."""
    good = (table.c.key == hash_of(token)) & table.c.used_ms.is_(None) & (table.c.ends_ms > now)
    row = (await db.execute(sa.select(table).where(good))).first()
    if row is None:
        raise Refused("the link is not good any more: it was used, or its time is up")
    return Link(row.notice, row.alarm, row.person, row.channel)


async def use(db: AsyncConnection, token: str, now: int) -> None:
    """Use a link up, and with it all that this person has for this alarm; :class:`Refused` when somebody was first."""
    link = await find(db, token, now)
    mine = (table.c.alarm == link.alarm) & (table.c.person == link.person) & table.c.used_ms.is_(None)
    await db.execute(table.update().where(mine).values(used_ms=now))


async def who(db: AsyncConnection, name: str) -> Person | None:
    """Return the account of that name as it stands now, when it may acknowledge."""
    row = (await db.execute(sa.select(_users.c.login).where(_users.c.name == name))).first()
    user = await users.find(db, row.login) if row is not None else None
    if user is None or not user.active:
        return None
    person = Person(user.login, user.name, rights_of(user.roles), user.roles, user.areas)
    return person if person.may(RIGHT) else None


def address(page: str, token: str) -> str:
    """Return the link; the token stands behind '#', so that opening it sends it nowhere."""
    return f"{page}/answer.html#{token}"
