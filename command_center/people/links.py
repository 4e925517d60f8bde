"""Links that are good once: to enrol, to put a screen on the wall, to enter a demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import sqlalchemy as sa

from command_center.people import sessions, users
from command_center.people.sessions import hash_of, new_key
from command_center.tables import links as table
from telemetry.errors import Refused

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.audit import Act

LinkKind = Literal["first", "enrol", "wall", "enter"]
LASTS_MS = {"first": 3_600_000, "enrol": 24 * 3_600_000, "wall": 3_600_000, "enter": 12 * 3_600_000}


class Link(msgspec.Struct, frozen=True):
    """What a link is for.  ``totp`` is the secret shown to who opened it, until it is used."""

    kind: LinkKind
    login: str
    totp: str = ""


async def issue(db: AsyncConnection, kind: LinkKind, login: str, now: int) -> str:
    """Return the token of a new link; those of the same kind for the same person are good no more."""
    mine = (table.c.kind == kind) & (table.c.login == login) & table.c.used_ms.is_(None)
    await db.execute(table.update().where(mine).values(used_ms=now))
    token = new_key()
    await db.execute(
        table.insert().values(
            key=hash_of(token), kind=kind, login=login, ends_ms=now + LASTS_MS[kind], used_ms=None, totp=""
        )
    )
    return token


async def find(db: AsyncConnection, token: str, now: int, *kinds: LinkKind) -> Link:
    """Return a link that is still good; raise :class:`Refused` for any other."""
    good = (table.c.key == hash_of(token)) & table.c.used_ms.is_(None) & (table.c.ends_ms > now)
    row = (await db.execute(sa.select(table).where(good))).first()
    if row is None or row.kind not in kinds or (row.kind == "first" and not await users.nobody(db)):
        raise Refused("the link is not good any more: it was used, or its time is up")
    return Link(row.kind, row.login, row.totp)


async def show(db: AsyncConnection, token: str, totp: str) -> None:
    """Keep the secret that who opened the link was shown."""
    await db.execute(table.update().where(table.c.key == hash_of(token)).values(totp=totp))


async def forget_secrets(db: AsyncConnection) -> None:
    """Let every link that was opened and not used show a new secret."""
    await db.execute(table.update().values(totp=""))


async def use(db: AsyncConnection, token: str, now: int) -> None:
    """Use a link up."""
    await db.execute(table.update().where(table.c.key == hash_of(token)).values(used_ms=now))


async def reset(db: AsyncConnection, login: str, act: Act, now: int) -> str:
    """Void what somebody signs in with and return the token of a link to enrol anew; KeyError for nobody."""
    await users.change(db, login, act, now, "person.reset", password="", totp="", totp_step=0)
    await sessions.end_all(db, login, now)
    return await issue(db, "enrol", login, now)


def address(page: str, kind: LinkKind, token: str) -> str:
    """Return the link.  The token stands behind '#', so that no server's log and no other site ever sees it."""
    return f"{page}/#{'enrol' if kind in {'first', 'enrol'} else 'enter'}={token}"
