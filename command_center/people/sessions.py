"""Sessions, kept by the server: the browser holds 256 random bits, the database their hash."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import TYPE_CHECKING, Literal

import msgspec
import sqlalchemy as sa

from command_center.tables import sessions as table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Kind = Literal["person", "wall"]
SEEN_EVERY_MS = 30_000
"""How exactly a session remembers when its person last did something."""


class Session(msgspec.Struct, frozen=True):
    """One browser that is signed in; times are UTC ms."""

    id: str
    kind: Kind
    login: str
    created_ms: int
    seen_ms: int
    ends_ms: int
    over_ms: int | None
    address: str
    browser: str


_query = sa.select(*(table.c[name] for name in Session.__struct_fields__))


class Caller(msgspec.Struct, frozen=True):
    """Where a session begins: the address and what the browser says it is."""

    address: str = ""
    browser: str = ""


def new_key() -> str:
    """Return 256 random bits for an address or a cookie."""
    return secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """Return what is kept of a key: there is nothing to guess in it, so a fast hash is as good as a slow one."""
    return hashlib.sha256(key.encode()).hexdigest()


async def begin(
    db: AsyncConnection, kind: Kind, login: str, caller: Caller, now: int, lasts_ms: int
) -> tuple[str, Session]:
    """Begin a session; return the key for the browser, which is told to nobody else."""
    key = new_key()
    session = Session(
        uuid.uuid4().hex, kind, login, now, now, now + lasts_ms, None, caller.address[:64], caller.browser[:200]
    )  # fmt: skip
    await db.execute(table.insert().values(key=hash_of(key), **msgspec.structs.asdict(session)))
    return key, session


async def find(db: AsyncConnection, key: str, now: int) -> Session | None:
    """Return the session of a key, while it lasts."""
    lasts = table.c.over_ms.is_(None) & (table.c.ends_ms > now)
    row = (await db.execute(_query.where((table.c.key == hash_of(key)) & lasts))).first()
    return None if row is None else Session(*row)


async def touch(db: AsyncConnection, session: str, now: int) -> None:
    """Note that its person is there."""
    await db.execute(table.update().where(table.c.id == session).values(seen_ms=now))


async def of(db: AsyncConnection, now: int, *, login: str = "", kind: Kind = "person") -> list[Session]:
    """Return the sessions that last, of somebody or of all, the newest first."""
    lasts = table.c.over_ms.is_(None) & (table.c.ends_ms > now) & (table.c.kind == kind)
    mine = lasts & (table.c.login == login) if login else lasts
    rows = await db.execute(_query.where(mine).order_by(table.c.created_ms.desc()))
    return [Session(*row) for row in rows]


async def end(db: AsyncConnection, session: str, now: int, *, login: str = "") -> Session:
    """End a session, of this person when ``login`` is given; KeyError for none that lasts."""
    mine = (table.c.id == session) & table.c.over_ms.is_(None)
    if login:
        mine &= table.c.login == login
    row = (await db.execute(_query.where(mine))).first()
    if row is None:
        raise KeyError(session)
    await db.execute(table.update().where(table.c.id == session).values(over_ms=now))
    return Session(*row)


async def end_all(db: AsyncConnection, login: str, now: int) -> int:
    """End all sessions of somebody; return how many lasted."""
    mine = (table.c.login == login) & table.c.over_ms.is_(None)
    lasted = (await db.execute(sa.select(sa.func.count()).where(mine & (table.c.ends_ms > now)))).scalar_one()
    await db.execute(table.update().where(mine).values(over_ms=now))
    return int(lasted)
