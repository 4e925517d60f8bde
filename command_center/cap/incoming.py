"""Warnings from outside, kept as they came; the same message twice is one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from command_center.cap.reading import Received, read
from command_center.tables import warnings_in as _warnings_in

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_DAY_MS = 86_400_000


async def take(db: AsyncConnection, xml: bytes, now: int) -> tuple[str, Received, bool]:
    """Keep a message; return its key, what it says and whether it is new.  Raises :class:`Malformed`."""
    received = read(xml)
    seed = f"{received.sender}\0{received.identifier}\0{received.sent}"
    key = hashlib.sha256(seed.encode()).hexdigest()[:32]
    known = await db.execute(sa.select(_warnings_in.c.id).where(_warnings_in.c.id == key))
    if known.first() is not None:
        return key, received, False
    ends = [info.expires_ms for info in received.infos if info.expires_ms is not None]
    until = max(ends, default=received.sent_ms + _DAY_MS)
    body = msgspec.json.encode(received)
    await db.execute(_warnings_in.insert().values(id=key, at_ms=now, until_ms=until, body=body, xml=xml))
    return key, received, True


async def standing(db: AsyncConnection, now: int, limit: int = 100) -> list[dict[str, Any]]:
    """Return the messages that hold now, the newest first: not over, and not updated or cancelled by a later one."""
    rows = await db.execute(
        sa.select(_warnings_in)
        .where(_warnings_in.c.until_ms > now)
        .order_by(_warnings_in.c.at_ms.desc(), _warnings_in.c.id)
        .limit(limit)
    )
    found = [(row, msgspec.json.decode(row.body, type=Received)) for row in rows]
    replaced = {
        (sender, identifier)
        for _, told in found
        if told.kind in {"Update", "Cancel"}
        for sender, identifier, *_ in (
            one.split(",") for one in told.references.split() if one.count(",") >= 2
        )
        if sender == told.sender  # nobody takes back what another has said
    }
    return [
        {"id": row.id, "at_ms": row.at_ms, "until_ms": row.until_ms, **msgspec.to_builtins(told)}
        for row, told in found
        if told.kind != "Cancel" and (told.sender, told.identifier) not in replaced
    ]
