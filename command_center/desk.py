"""The desk: alarms and their journal in a database, committed before anything is acknowledged."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import sqlalchemy as sa
import structlog

from command_center import audit, holds, listing
from command_center.deeds import Deed, perform
from command_center.lifecycle import Alarm, apply, supersede
from command_center.store import apart
from command_center.tables import alarms as _alarms
from command_center.tables import events as _events
from command_center.tables import quarantine as _quarantine
from telemetry.errors import Refused
from telemetry.faults import Faults
from telemetry.severity import Severity
from telemetry.transitions import Category, Change, Transition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.audit import Act
    from command_center.store import Store
    from telemetry.clock import Clock
    from telemetry.transitions import AlarmMessage

    First = Callable[[AsyncConnection], Awaitable[None]]

log = structlog.get_logger()
STALE_ASSERTION_MS = 90_000
"""An open alarm that the feed has not asserted for so long is shown as unconfirmed; silence never closes it."""
CHATTER_MS = 60_000
"""An activation this soon after the last one of the same rule on the same device counts as a repeat."""


class Follower(Protocol):
    """Writes what follows from changes of alarms, in the same transaction as the changes themselves."""

    async def __call__(
        self, db: AsyncConnection, changes: Sequence[tuple[Alarm | None, Alarm]], now_ms: int, /
    ) -> None:
        """Follow each ``(before, after)``; ``before`` is None for a new alarm."""


class Desk:
    """Alarms by feed and by deed; every change is journalled and followed in one transaction."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        latching: frozenset[Category] = frozenset(),
        followers: Iterable[Follower] = (),
        faults: Faults | None = None,
    ) -> None:
        self._store, self._clock, self._latching = store, clock, latching
        self._followers, self._faults = tuple(followers), faults or Faults(clock)
        self._asserted: dict[str, int] = {}

    async def take(self, messages: Sequence[AlarmMessage]) -> list[Alarm]:
        """Commit messages of the feed; return the alarms that changed by them.

        Raises :class:`Unavailable`, with nothing committed, when the database does not answer.
        """
        now = self._clock.now_ms()
        async with self._store.change() as db:
            changed = await self._take(db, [message.transition for message in messages], now)
        for message in messages:
            if message.transition.change is Change.ENDED:
                self._asserted.pop(message.transition.alarm, None)
            else:
                self._asserted[message.transition.alarm] = now
        return changed

    async def do(
        self, alarm: str, deed: Deed, act: Act, *, version: int | None = None, first: First | None = None
    ) -> list[Alarm]:
        """Do a person's deed; return the alarms that changed, the one named first.

        Raises KeyError for an unknown alarm and :class:`Refused` for what cannot be done, or was decided on an
        older ``version`` than the one that stands.  ``first`` is done in the same transaction, before it.
        """
        now = self._clock.now_ms()
        async with self._store.change() as db:
            if first is not None:
                await first(db)
            return await self._do(db, alarm, deed, act, version, now)

    async def acknowledge_all(
        self, wanted: Sequence[tuple[str, int | None]], comment: str, act: Act
    ) -> tuple[list[Alarm], dict[str, str]]:
        """Acknowledge many; return those that are, and by id why the others are not.

        An alarm that is or was red is never swept along: it wants a look and an answer of its own.
        """
        done: list[Alarm] = []
        left: dict[str, str] = {}
        now, deed = self._clock.now_ms(), Deed("acknowledge", comment)
        async with self._store.change() as db:
            for alarm, version in wanted:
                found = await _load(db, [alarm])
                if not found:
                    left[alarm] = "unknown"
                elif found[alarm].worst is Severity.RED:
                    left[alarm] = "red"
                else:
                    try:
                        done += await self._do(db, alarm, deed, act, version, now)
                    except Refused as error:
                        left[alarm] = str(error)
        return done, left

    async def alarms(self, *, only_open: bool, limit: int) -> list[Alarm]:
        """Return alarms, the newest first."""
        return await self.page(listing.Wanted(only_open, limit=limit))

    async def page(self, wanted: listing.Wanted) -> list[Alarm]:
        """Return a page of alarms; :func:`listing.after` of its last is where the next begins."""
        async with self._store.read() as db:
            return await listing.page(db, wanted)

    async def count(self, devices: Collection[str] | None = None) -> dict[str, int]:
        """Return how many alarms are open, by colour, the worst first; of these devices alone where some are given."""
        async with self._store.read() as db:
            return await listing.count(db, devices)

    async def some(self, alarms: Iterable[str]) -> dict[str, Alarm]:
        """Return those of ``alarms`` that there are."""
        async with self._store.read() as db:
            return await _load(db, alarms)

    async def alarm(self, alarm: str) -> tuple[Alarm, list[dict[str, Any]]] | None:
        """Return an alarm with its journal."""
        async with self._store.read() as db:
            found = await _load(db, [alarm])
            if not found:
                return None
            rows = await db.execute(
                sa.select(_events).where(_events.c.alarm == alarm).order_by(_events.c.at_ms, _events.c.id)
            )
            return found[alarm], [
                {"id": row.id, "at_ms": row.at_ms, "kind": row.kind, "body": msgspec.json.decode(row.body)}
                for row in rows
            ]

    async def devices_of(self, alarms: Iterable[str]) -> dict[str, str]:
        """Return the device of each alarm that there is."""
        query = sa.select(_alarms.c.id, _alarms.c.device).where(_alarms.c.id.in_(list(alarms)))
        async with self._store.read() as db:
            return {row.id: row.device for row in await db.execute(query)}

    async def held(self, devices: Collection[str] | None = None) -> list[dict[str, Any]]:
        """Return what is shelved or out of service now or will be, of these devices alone where some are given."""
        async with self._store.read() as db:
            found = await holds.standing(db)
        return [one for one in found if devices is None or one["device"] in devices]

    async def hold(self, wanted: holds.Wanted, act: Act) -> list[Alarm]:
        """Take a device out of service, now or from a time to come; return the alarms that changed."""
        now = self._clock.now_ms()
        async with self._store.change() as db:
            change = await holds.begin(db, wanted, act, now)
            return await self._held(db, change, act, now)

    async def release(self, hold: str, act: Act) -> list[Alarm]:
        """End a hold before its time; KeyError for one that does not stand."""
        now = self._clock.now_ms()
        async with self._store.change() as db:
            change = await holds.end(db, hold, act, now)
            return await self._held(db, change, act, now)

    async def tick(self) -> list[Alarm]:
        """Begin and end the holds whose time has come; return the alarms that changed."""
        now = self._clock.now_ms()
        async with self._store.read() as db:
            if not await holds.due(db, now):
                return []
        changed: list[Alarm] = []
        async with self._store.change() as db:
            for change in await holds.turn(db, now):
                changed += await self._held(db, change, holds.CLOCK, now)
        return changed

    async def quarantine(self, payload: bytes, reason: str) -> None:
        """Keep a message that cannot be read."""
        async with self._store.change() as db:
            await db.execute(
                _quarantine.insert().values(
                    at_ms=self._clock.now_ms(), reason=reason, payload=payload[: 1 << 20]
                )
            )

    def asserted_ms(self, alarm: Alarm) -> int:
        """Return when the feed last spoke of an alarm."""
        return self._asserted.get(alarm.id, alarm.received_ms)

    def shift(self, by_ms: int) -> None:
        """The clock was set: what the feed asserted so long ago still lies so long back."""
        self._asserted = {key: at + by_ms for key, at in self._asserted.items()}

    async def _take(self, db: AsyncConnection, transitions: Sequence[Transition], now: int) -> list[Alarm]:
        told = {transition.id: transition for transition in transitions}
        known = {row.id for row in await db.execute(sa.select(_events.c.id).where(_events.c.id.in_(told)))}
        fresh = [transition for key, transition in told.items() if key not in known]
        if not fresh:
            return []
        before = await _load(db, {transition.alarm for transition in fresh})
        after: dict[str, Alarm] = dict(before)
        for transition in fresh:
            after[transition.alarm] = apply(
                after.get(transition.alarm), transition, now, latching=self._latching
            )
        begun = {key for key in after if key not in before}
        standing = {key for key, alarm in after.items() if alarm.active or key in begun}
        if standing:
            neighbours = await _of_devices(db, {after[key].device for key in standing}, now)
            before |= {
                key: alarm for key, alarm in neighbours.items() if key not in before and key not in begun
            }
            after = {**neighbours, **after}
            _settle(after, standing, begun)
            await holds.inherit(db, after, begun, now)
        over = [
            alarm
            for alarm in after.values()
            if not alarm.active and alarm.shelf and alarm.shelf.until_resolved
        ]
        for alarm in over:
            await holds.resolved(db, alarm, now)
            after[alarm.id] = msgspec.structs.replace(alarm, shelf=None)
        await db.execute(
            _events.insert(),
            [
                {
                    "id": t.id,
                    "alarm": t.alarm,
                    "at_ms": now,
                    "kind": t.change.value,
                    "body": msgspec.json.encode(t),
                }
                for t in fresh
            ],
        )
        return await self._save(db, before, after, now)

    async def _do(
        self, db: AsyncConnection, key: str, deed: Deed, act: Act, version: int | None, now: int
    ) -> list[Alarm]:
        found = (await _load(db, [key])).get(key)
        if found is None:
            raise KeyError(key)
        if deed.kind == "acknowledge" and found.acknowledged_by:
            perform(found, deed, act.who, now)  # says who was first
        if version is not None and version != found.version:
            raise Refused(f"it has changed since: version {version} was seen, {found.version} stands")
        after = perform(found, deed, act.who, now)
        changes = {key: after}
        if deed.kind in holds.DEEDS:
            siblings = await _of_devices(db, {found.device}, now, only_open=True)
            changes |= await holds.by_deed(db, found, after, deed, siblings, now)
        detail = {"name": act.who, **msgspec.to_builtins(deed)}
        await _journal(db, after, deed.kind, detail, now, found.version + 1)
        await audit.write(
            db, now, act, f"alarm.{deed.kind}", key, before={"state": found.state, "suppression": found.suppression},
            after={"state": after.state, "suppression": after.suppression, **detail},
        )  # fmt: skip
        before = await _load(db, changes)
        saved = await self._save(db, before, changes, now, named=key)
        return sorted(saved, key=lambda alarm: alarm.id != key)

    async def _held(self, db: AsyncConnection, change: holds.Change, act: Act, now: int) -> list[Alarm]:
        siblings = await _of_devices(db, {change.device}, now, only_open=True)
        after = holds.spread(change, siblings)
        for alarm in after.values():
            await _journal(
                db, alarm, change.kind, {"name": act.who, "reason": change.reason}, now, alarm.version + 1
            )
        return await self._save(db, siblings, after, now)

    async def _save(
        self,
        db: AsyncConnection,
        before: Mapping[str, Alarm],
        after: Mapping[str, Alarm],
        now: int,
        named: str = "",
    ) -> list[Alarm]:
        """Write what changed, those that end first, and let the followers follow."""
        changes: list[tuple[Alarm | None, Alarm]] = []
        for key, alarm in after.items():
            old = before.get(key)
            if alarm != old or key == named:
                changes.append((old, msgspec.structs.replace(alarm, version=old.version + 1 if old else 1)))
        rows = [{"key": alarm.id, **_row(alarm)} for old, alarm in changes if old is not None]
        if rows:
            update = _alarms.update().where(_alarms.c.id == sa.bindparam("key"))
            await db.execute(update, sorted(rows, key=lambda row: bool(row["is_active"])))
        fresh = [
            {"id": a.id, "device": a.device, "rule": a.rule, "received_ms": a.received_ms, **_row(a)}
            for old, a in changes
            if old is None
        ]
        if fresh:
            await db.execute(_alarms.insert(), fresh)
        for follow in self._followers:
            await self._follow(follow, db, changes, now)
        return [alarm for _, alarm in changes]

    async def _follow(
        self, follow: Follower, db: AsyncConnection, changes: Sequence[tuple[Alarm | None, Alarm]], now: int
    ) -> None:
        """Let one follower follow; where it breaks it costs its own part of that alarm, and neither the alarm nor the others."""

        def broke(change: tuple[Alarm | None, Alarm], error: Exception) -> None:
            part = type(follow).__name__.lower()
            log.error("alarm_not_followed", part=part, alarm=change[1].id)
            self._faults.note(part, error)

        await apart(db, changes, lambda some: follow(db, some, now), broke)


def _settle(after: dict[str, Alarm], standing: Iterable[str], begun: set[str]) -> None:
    """Let the newest occurrence of a rule on a device stand alone, and count how fast they come."""
    of: dict[tuple[str, str], list[str]] = {}
    for alarm in sorted(after.values(), key=lambda one: (one.began_ms, one.id)):
        of.setdefault((alarm.device, alarm.rule), []).append(alarm.id)
    for pair in {(after[key].device, after[key].rule) for key in standing}:
        keys = of[pair]
        for earlier, later in pairwise(keys):
            close = after[later].began_ms - after[earlier].began_ms <= CHATTER_MS
            if later in begun and close:
                after[later] = msgspec.structs.replace(after[later], repeats=after[earlier].repeats + 1)
            if after[earlier].active:
                after[earlier] = supersede(after[earlier], after[later].began_ms)


async def _of_devices(
    db: AsyncConnection, devices: Iterable[str], now: int, *, only_open: bool = False
) -> dict[str, Alarm]:
    """Return the alarms of devices that stand, are open, or came within the last minute."""
    of = _alarms.c.device.in_(list(devices))
    recent = (
        _alarms.c.is_open if only_open else _alarms.c.is_active | (_alarms.c.received_ms > now - CHATTER_MS)
    )
    rows = await db.execute(sa.select(_alarms.c.id, _alarms.c.body).where(of & recent))
    return {row.id: _decode(row.body) for row in rows}


async def _journal(
    db: AsyncConnection, alarm: Alarm, kind: str, body: Mapping[str, Any], now: int, version: int
) -> None:
    await db.execute(
        _events.insert().values(
            id=f"{alarm.id}#{version}", alarm=alarm.id, at_ms=now, kind=kind, body=msgspec.json.encode(body)
        )
    )


async def _load(db: AsyncConnection, keys: Iterable[str]) -> dict[str, Alarm]:
    rows = await db.execute(sa.select(_alarms.c.id, _alarms.c.body).where(_alarms.c.id.in_(list(keys))))
    return {row.id: _decode(row.body) for row in rows}


def _row(alarm: Alarm) -> dict[str, Any]:
    return {
        "is_active": alarm.active,
        "is_open": alarm.is_open,
        "body": msgspec.json.encode(alarm),
        **listing.columns(alarm),
    }


def _decode(body: bytes) -> Alarm:
    return msgspec.json.decode(body, type=Alarm)
