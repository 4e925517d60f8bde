"""Whether a message to somebody's address reaches him: proven by a code that he got there, or vouched for by an admin.

People, channels and addresses stand in ``notify.yaml``; here stands what is proven of them.  It is kept under a hash of
person, channel and address, so that an address that changes is unproven by itself.  What is unproven is tried last,
and for red alarms always: a list that nobody kept costs order, never a red alarm.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from command_center import audit
from command_center.tables import contacts as table
from telemetry.errors import Refused
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.audit import Act
    from command_center.policies import Told

LASTS_MS, PAUSE_MS, MOST_TRIES = 600_000, 60_000, 5
_MOST_REASON = 200


class Contact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How somebody is reached.  ``ending`` is all of the address that others see; ``by`` proved it or vouched for it."""

    person: str
    name: Text
    channel: str
    ending: str
    proven: bool
    proven_ms: int | None = None
    by: str = ""
    reason: str = ""


def key_of(person: str, channel: str, address: str) -> str:
    """Return under what it is kept."""
    return hashlib.sha256(f"{person}\0{channel}\0{address}".encode()).hexdigest()


def is_read_by_people(told: Told, channel: str) -> bool:
    """Return whether a person reads what comes by a channel; a webhook's program enters no code."""
    return getattr(told.kinds.get(channel), "READ_BY_PEOPLE", True)


async def proven(db: AsyncConnection) -> frozenset[str]:
    """Return the keys of all that is proven."""
    rows = await db.execute(sa.select(table.c.key).where(table.c.proven_ms.is_not(None)))
    return frozenset(key for (key,) in rows)


def in_order(
    told: Told, person: str, by: tuple[str, ...], keys: frozenset[str], *, is_red: bool
) -> tuple[str, ...]:
    """Return the channels to try: what is proven first; the rest after, or not at all where ``notify.yaml`` says so."""
    reach = told.setup.people[person].reach
    good = tuple(one for one in by if is_good(told, person, one, reach[one], keys))
    rest = tuple(one for one in by if one not in good)
    return good + rest if is_red or told.setup.unverified == "last" else good


def is_good(told: Told, person: str, channel: str, address: str, keys: frozenset[str]) -> bool:
    """Return whether an address is proven, or needs no proof."""
    return not is_read_by_people(told, channel) or key_of(person, channel, address) in keys


async def everyone(db: AsyncConnection, told: Told) -> list[Contact]:
    """Return how everybody is reached, as ``notify.yaml`` stands now."""
    rows = {row.key: row for row in await db.execute(sa.select(table).where(table.c.proven_ms.is_not(None)))}
    return list(_listed(told, rows))


def _listed(told: Told, rows: dict[str, Any]) -> Iterator[Contact]:
    for who, person in told.setup.people.items():
        for channel, address in person.reach.items():
            row = rows.get(key_of(who, channel, address))
            more = {"proven_ms": row.proven_ms, "by": row.by, "reason": row.reason} if row else {}
            yield Contact(
                person=who, name=person.name, channel=channel, ending=address[-4:] if len(address) > 6 else "",
                proven=row is not None or not is_read_by_people(told, channel), **more,
            )  # fmt: skip


async def begin(
    db: AsyncConnection, told: Told, person: str, channel: str, act: Act, now: int
) -> tuple[str, str]:
    """Return the code to send and the address; the one before is good no more.

    Raises :class:`Refused` for nobody, and when one was sent less than a minute ago.
    """
    address = _address(told, person, channel)
    key = key_of(person, channel, address)
    row = (await db.execute(sa.select(table).where(table.c.key == key))).first()
    if row is not None and row.code and 0 <= now - row.sent_ms < PAUSE_MS:
        raise Refused("wait: a code was sent less than a minute ago")
    code = f"{secrets.randbelow(1_000_000):06}"
    await _keep(db, key, person, channel, code=_hash(key, code), sent_ms=now, tries=0)
    await audit.write(db, now, act, "contact.code", f"{person}/{channel}")
    return code, address


async def enter(
    db: AsyncConnection, told: Told, person: str, channel: str, code: str, act: Act, now: int
) -> bool:
    """Take a code; return whether it is the one.  After ten minutes or five wrong ones it takes a new one."""
    key = key_of(person, channel, _address(told, person, channel))
    row = (await db.execute(sa.select(table).where(table.c.key == key))).first()
    if row is None or not row.code or now - row.sent_ms > LASTS_MS or row.tries >= MOST_TRIES:
        raise Refused("no code is good now: have a new one sent")
    is_right = hmac.compare_digest(row.code, _hash(key, code.strip()))
    if is_right:
        await _keep(db, key, person, channel, code="", proven_ms=now, by=act.who, reason="")
    else:
        await _keep(db, key, person, channel, tries=row.tries + 1)
    await audit.write(
        db, now, act, "contact.verify", f"{person}/{channel}", result="done" if is_right else "refused"
    )
    return is_right


async def vouch(
    db: AsyncConnection, told: Told, person: str, channel: str, reason: str, act: Act, now: int
) -> None:
    """Take an admin's word that messages come through."""
    key = key_of(person, channel, _address(told, person, channel))
    if not reason.strip():
        raise Refused("a reason is needed")
    words = reason.strip()[:_MOST_REASON]
    await _keep(db, key, person, channel, code="", proven_ms=now, by=act.who, reason=words)
    await audit.write(db, now, act, "contact.vouch", f"{person}/{channel}", after={"reason": words})


async def unreached(url: str, told: Told) -> list[tuple[str, tuple[str, ...]]]:
    """Return whom no proven address reaches, each with the channels he has.

    Only reads, and makes nothing: a desk that is not there yet, or is of an older version, has nothing proven.
    """
    keys: frozenset[str] = frozenset()
    where = sa.make_url(url)
    engine = create_async_engine(url)
    try:
        if not where.drivername.startswith("sqlite") or Path(where.database or "").exists():
            async with engine.connect() as db:
                keys = await proven(db)
    except (DBAPIError, OSError):
        keys = frozenset()
    finally:
        await engine.dispose()
    return [
        (who, tuple(person.reach))
        for who, person in told.setup.people.items()
        if not any(is_good(told, who, channel, address, keys) for channel, address in person.reach.items())
    ]


def _address(told: Told, person: str, channel: str) -> str:
    reach = told.setup.people[person].reach if person in told.setup.people else {}
    if channel not in reach:
        raise Refused(f"'{person}' is not reached by '{channel}'")
    return reach[channel]


async def _keep(db: AsyncConnection, key: str, person: str, channel: str, **values: object) -> None:
    changed = await db.execute(table.update().where(table.c.key == key).values(**values))
    if not changed.rowcount:
        fresh = {"code": "", "sent_ms": 0, "tries": 0, "by": "", "reason": ""}
        await db.execute(
            table.insert().values(key=key, person=person, channel=channel, **{**fresh, **values})
        )


def _hash(key: str, code: str) -> str:
    return hashlib.sha256(f"{key}:{code}".encode()).hexdigest()
