"""The people of a desk: made, changed, disabled, never deleted, because the audit trail names them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from command_center import audit
from command_center.people import sessions
from command_center.people.rights import APART, ROLES, Role
from command_center.tables import users as table
from telemetry.errors import Refused

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.audit import Act

_LOGIN = re.compile(r"[a-z][a-z0-9._-]{1,31}")
_NAME = re.compile(r"[^\x00-\x1f\x7f:]{1,64}")
_ADMIN: Role = "security_admin"


class User(msgspec.Struct, frozen=True, omit_defaults=True):
    """``name`` is how everybody sees him: in alarms, in the audit trail; no two have the same."""

    login: str
    name: str
    roles: tuple[Role, ...]
    areas: tuple[str, ...] = ()
    active: bool = True
    password: str = ""
    """argon2id; '' until the person has set one."""
    password_ms: int = 0
    """When it was set, UTC ms; 0 where nobody kept that."""
    totp: str = ""
    """Sealed; see ``sealing.py``."""
    totp_step: int = 0
    """The step of the last code that was used."""

    def told(self) -> dict[str, object]:
        """Return what others may see, and the audit trail keeps."""
        return {
            "login": self.login, "name": self.name, "roles": self.roles, "areas": self.areas, "active": self.active,
            "enrolled": bool(self.password), "second_factor": bool(self.totp),
        }  # fmt: skip


async def find(db: AsyncConnection, login: str) -> User | None:
    """Return a user."""
    row = (await db.execute(sa.select(table.c.body).where(table.c.login == login))).first()
    return None if row is None else msgspec.json.decode(row.body, type=User)


async def everyone(db: AsyncConnection) -> list[User]:
    """Return all users by login."""
    rows = await db.execute(sa.select(table.c.body).order_by(table.c.login))
    return [msgspec.json.decode(body, type=User) for (body,) in rows]


async def nobody(db: AsyncConnection) -> bool:
    """Return whether there is no user yet."""
    return (await db.execute(sa.select(table.c.login).limit(1))).first() is None


async def add(db: AsyncConnection, user: User, act: Act, now: int) -> None:
    """Make a user; raise :class:`Refused` for a login or a name that cannot be or is taken."""
    if not _LOGIN.fullmatch(user.login):
        raise Refused("login: 2 to 32 of a-z, 0-9, '.', '_', '-', the first a letter")
    if not _NAME.fullmatch(user.name) or user.name != user.name.strip():
        raise Refused("name: 1 to 64 characters, without ':'")
    _fit(user.roles)
    taken = await db.execute(
        sa.select(table.c.login).where((table.c.login == user.login) | (table.c.name == user.name))
    )
    if taken.first() is not None:
        raise Refused(f"taken: '{user.login}' or '{user.name}' is somebody else")
    await db.execute(table.insert().values(login=user.login, name=user.name, body=msgspec.json.encode(user)))
    await audit.write(db, now, act, "person.add", user.login, after=user.told())


async def change(
    db: AsyncConnection, login: str, act: Act, now: int, what: str, *, by: str = "", **fields: object
) -> User:
    """Change some fields of a user and say so in the audit trail; ``by`` is the login of who does it.

    Raises KeyError for no such user, :class:`Refused` when somebody gives himself rights or no security admin would
    be left.
    """
    before = await find(db, login)
    if before is None:
        raise KeyError(login)
    after = msgspec.structs.replace(before, **fields)
    _fit(after.roles)
    if by == login and (after.roles, after.areas, after.active) != (
        before.roles,
        before.areas,
        before.active,
    ):
        raise Refused("yourself: another security admin changes your own rights")
    if _administers(before) and not _administers(after):
        others = [user for user in await everyone(db) if _administers(user) and user.login != login]
        if not others:
            raise Refused("the last security admin stays")
    await save(db, after)
    if not after.active:
        await sessions.end_all(db, login, now)
    await audit.write(db, now, act, what, login, before=before.told(), after=after.told())
    return after


async def save(db: AsyncConnection, user: User) -> None:
    """Write a user as he now is."""
    await db.execute(table.update().where(table.c.login == user.login).values(body=msgspec.json.encode(user)))


def _administers(user: User) -> bool:
    return user.active and _ADMIN in user.roles


def _fit(roles: tuple[Role, ...]) -> None:
    if not roles:
        raise Refused("roles: at least one")
    for role in roles:
        if role not in ROLES or role == "wall":
            raise Refused(f"roles: '{role}' is no role of a person")
    for one, other in APART:
        if one in roles and other in roles:
            raise Refused(f"roles: nobody is {one} and {other}")
