"""What is shelved or out of service: kept for the rule or the device, so that the next occurrence is held too."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa

from command_center import audit, lifecycle
from command_center.audit import Act
from command_center.deeds import LONGEST_SERVICE_MS, Deed
from command_center.lifecycle import Alarm, Hold
from command_center.tables import holds as table
from telemetry.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

HoldKind = Literal["shelved", "out_of_service"]
DEEDS = frozenset({"shelve", "unshelve", "withdraw", "restore"})
CLOCK = Act("clock")
"""Who ends a hold whose time has come."""


class Wanted(msgspec.Struct, frozen=True):
    """A device to be out of service, now or later."""

    device: str
    reason: str
    since_ms: int
    until_ms: int


class Change(msgspec.Struct, frozen=True):
    """What a hold that begins or ends does to the open alarms of its device (``rule`` '' is every rule)."""

    kind: str
    device: str
    rule: str
    reason: str
    hold: Hold | None
    of: HoldKind


async def begin(db: AsyncConnection, wanted: Wanted, act: Act, now: int) -> Change:
    """Write a device's maintenance; raise :class:`Refused` for a window that cannot be."""
    if not wanted.reason:
        raise Refused("a reason is needed")
    if wanted.until_ms <= max(now, wanted.since_ms):
        raise Refused("it would end before it begins")
    if wanted.until_ms - wanted.since_ms > LONGEST_SERVICE_MS:
        raise Refused(f"at most {LONGEST_SERVICE_MS // 86_400_000} days")
    hold = Hold(act.who, wanted.reason, wanted.since_ms, wanted.until_ms)
    starts = wanted.since_ms <= now
    await _insert(db, "out_of_service", wanted.device, "", hold, applied=starts)
    await audit.write(db, now, act, "device.withdraw", wanted.device, after=msgspec.to_builtins(hold))
    return Change("withdraw", wanted.device, "", wanted.reason, hold if starts else None, "out_of_service")


async def end(db: AsyncConnection, hold: str, act: Act, now: int) -> Change:
    """End a hold, and let the one that stands beside it go on; raise KeyError when none stands by that id."""
    row = (await db.execute(sa.select(table).where((table.c.id == hold) & table.c.over_ms.is_(None)))).first()
    if row is None:
        raise KeyError(hold)
    await db.execute(table.update().where(table.c.id == hold).values(over_ms=now))
    await audit.write(
        db, now, act, "hold.end", f"{row.device}/{row.rule or '*'}", before=msgspec.json.decode(row.body)
    )
    if other := await _beside(db, row, now):
        kind = "shelve" if row.kind == "shelved" else "withdraw"
        return Change(kind, row.device, row.rule, other.reason, other, row.kind)
    kind = "unshelve" if row.kind == "shelved" else "restore"
    return Change(kind, row.device, row.rule, "", None, row.kind)


async def _beside(db: AsyncConnection, row: Any, now: int) -> Hold | None:
    """Return the longest of the other holds that hold the same, or are to from now on."""
    c = table.c
    same = (c.kind == row.kind) & (c.device == row.device) & (c.rule == row.rule) & (c.id != row.id)
    stands = same & c.over_ms.is_(None) & (c.since_ms <= now) & (c.until_ms > now)
    body = (await db.execute(sa.select(c.body).where(stands).order_by(c.until_ms.desc()).limit(1))).scalar()
    return msgspec.json.decode(body, type=Hold) if body else None


async def by_deed(
    db: AsyncConnection, alarm: Alarm, after: Alarm, deed: Deed, siblings: Mapping[str, Alarm], now: int
) -> dict[str, Alarm]:
    """Write the hold that a deed on one alarm begins or ends; return the other alarms it changes."""
    shelf = deed.kind in {"shelve", "unshelve"}
    kind: HoldKind = "shelved" if shelf else "out_of_service"
    rule = alarm.rule if shelf else ""
    hold = after.shelf if shelf else after.service
    if deed.kind in {"shelve", "withdraw"}:
        assert hold is not None
        await _insert(db, kind, alarm.device, rule, hold, applied=True)
    else:
        mine = (table.c.device == alarm.device) & (table.c.rule == rule) & (table.c.kind == kind)
        await db.execute(
            table.update().where(mine & table.c.over_ms.is_(None) & table.c.is_applied).values(over_ms=now)
        )
    others = {key: one for key, one in siblings.items() if key != alarm.id}
    return spread(Change(deed.kind, alarm.device, rule, deed.text, hold, kind), others)


def spread(change: Change, alarms: Mapping[str, Alarm]) -> dict[str, Alarm]:
    """Return those of the device's alarms that a hold changes."""
    out = {}
    for key, alarm in alarms.items():
        if change.rule in {"", alarm.rule}:
            field = "shelf" if change.of == "shelved" else "service"
            if getattr(alarm, field) != change.hold and (
                change.hold is not None or change.kind in {"unshelve", "restore"}
            ):
                out[key] = msgspec.structs.replace(alarm, **{field: change.hold})
    return out


async def inherit(db: AsyncConnection, alarms: dict[str, Alarm], begun: Iterable[str], now: int) -> None:
    """Hold the alarms that begin under a hold that stands."""
    devices = {alarms[key].device for key in begun}
    standing = table.c.over_ms.is_(None) & table.c.is_applied & (table.c.until_ms > now)
    rows = (await db.execute(sa.select(table).where(table.c.device.in_(devices) & standing))).all()
    for key in begun:
        for row in rows:
            if row.device == alarms[key].device and row.rule in {"", alarms[key].rule}:
                hold = msgspec.json.decode(row.body, type=Hold)
                fit = lifecycle.shelve if row.kind == "shelved" else lifecycle.withdraw
                if alarms[key].is_open and not (
                    alarms[key].shelf if row.kind == "shelved" else alarms[key].service
                ):
                    alarms[key] = fit(alarms[key], hold)


async def resolved(db: AsyncConnection, alarm: Alarm, now: int) -> None:
    """End the shelf that was to last until the alarm is over."""
    mine = (table.c.device == alarm.device) & (table.c.rule == alarm.rule) & (table.c.kind == "shelved")
    await db.execute(table.update().where(mine & table.c.over_ms.is_(None)).values(over_ms=now))


async def due(db: AsyncConnection, now: int) -> bool:
    """Return whether any hold is to begin or to end."""
    return (await db.execute(sa.select(table.c.id).where(_due(now)).limit(1))).first() is not None


async def turn(db: AsyncConnection, now: int) -> list[Change]:
    """Begin and end what is due; ends before beginnings."""
    changes = []
    rows = (
        await db.execute(sa.select(table).where(_due(now)).order_by(table.c.is_applied.desc(), table.c.id))
    ).all()
    for row in rows:
        if row.until_ms <= now:
            changes.append(await end(db, row.id, CLOCK, now))
        else:
            await db.execute(table.update().where(table.c.id == row.id).values(is_applied=True))
            hold = msgspec.json.decode(row.body, type=Hold)
            changes.append(Change("withdraw", row.device, row.rule, hold.reason, hold, row.kind))
    return changes


async def standing(db: AsyncConnection) -> list[dict[str, Any]]:
    """Return the holds that stand or are to come, those that end first first."""
    rows = await db.execute(sa.select(table).where(table.c.over_ms.is_(None)).order_by(table.c.until_ms))
    return [
        {"id": row.id, "kind": row.kind, "device": row.device, "rule": row.rule or None, "applied": row.is_applied,
         **msgspec.json.decode(row.body)}
        for row in rows
    ]  # fmt: skip


def _due(now: int) -> sa.ColumnElement[bool]:
    begins = (table.c.since_ms <= now) & ~table.c.is_applied
    return table.c.over_ms.is_(None) & ((table.c.until_ms <= now) | begins)


async def _insert(
    db: AsyncConnection, kind: str, device: str, rule: str, hold: Hold, *, applied: bool
) -> None:
    await db.execute(
        table.insert().values(
            id=uuid.uuid4().hex,
            kind=kind,
            device=device,
            rule=rule,
            since_ms=hold.since_ms,
            until_ms=hold.until_ms,
            is_applied=applied,
            body=msgspec.json.encode(hold),
        )
    )
