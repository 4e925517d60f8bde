"""The desk: alarms and their journal in a database, committed before anything is acknowledged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from command_center.lifecycle import Alarm, acknowledge, apply, supersede
from telemetry.errors import Unavailable
from telemetry.transitions import Change

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncConnection

    from telemetry.clock import Clock
    from telemetry.transitions import AlarmMessage

STALE_ASSERTION_MS = 90_000
"""An open alarm that the feed has not asserted for so long is shown as unconfirmed; silence never closes it."""

_metadata = sa.MetaData()
_alarms = sa.Table(
    "alarms",
    _metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("rule", sa.String(128), nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("is_open", sa.Boolean, nullable=False),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("alarms_open", "is_open", "received_ms"),
    sa.Index("alarms_of", "device", "rule", "is_active"),
)
_events = sa.Table(  # append-only
    "alarm_events",
    _metadata,
    sa.Column("id", sa.String(96), primary_key=True),  # a transition's id, or <alarm>-ack
    sa.Column("alarm", sa.String(64), nullable=False, index=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
_quarantine = sa.Table(
    "feed_quarantine",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)


class Desk:
    """``async with Desk(url, clock) as desk``; one writer at a time."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock, self._url, self._writing = clock, url, asyncio.Lock()
        self._engine = create_async_engine(url)
        self._asserted: dict[str, int] = {}
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine.sync_engine, "connect", _make_durable)

    async def __aenter__(self) -> Self:
        try:
            async with self._engine.begin() as db:
                await db.run_sync(_metadata.create_all)
        except (OperationalError, OSError) as error:
            await self._engine.dispose()
            raise Unavailable(f"the desk's database does not open: {error}") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._engine.dispose()

    async def take(self, messages: Sequence[AlarmMessage]) -> list[Alarm]:
        """Commit messages of the feed; return the alarms that changed by them.

        Raises :class:`Unavailable`, with nothing committed, when the database does not answer.
        """
        changed: dict[str, Alarm] = {}
        try:
            async with self._writing, self._engine.begin() as db:
                for message in messages:
                    changed.update(await self._take(db, message))
        except (OperationalError, OSError) as error:
            raise Unavailable(f"desk: {error}") from None
        now = self._clock.now_ms()
        for message in messages:
            if message.transition.change is Change.ENDED:
                self._asserted.pop(message.transition.alarm, None)
            else:
                self._asserted[message.transition.alarm] = now
        return list(changed.values())

    async def acknowledge(self, alarm: str, name: str, comment: str) -> Alarm:
        """Record who has seen an alarm; raise KeyError for an unknown one and :class:`Refused` for the second."""
        async with self._writing, self._engine.begin() as db:
            found = await _load(db, alarm)
            if found is None:
                raise KeyError(alarm)
            now = self._clock.now_ms()
            after = acknowledge(found, name, comment, now)
            await _save(db, after, fresh=False)
            body = msgspec.json.encode({"name": name, "comment": comment})
            await db.execute(
                _events.insert().values(
                    id=f"{alarm}-ack", alarm=alarm, at_ms=now, kind="acknowledged", body=body
                )
            )
        return after

    async def alarms(self, *, only_open: bool, limit: int) -> list[Alarm]:
        """Return alarms, the newest first."""
        query = sa.select(_alarms.c.body).order_by(_alarms.c.received_ms.desc(), _alarms.c.id).limit(limit)
        if only_open:
            query = query.where(_alarms.c.is_open)
        async with self._engine.connect() as db:
            return [msgspec.json.decode(body, type=Alarm) for (body,) in await db.execute(query)]

    async def alarm(self, alarm: str) -> tuple[Alarm, list[dict[str, Any]]] | None:
        """Return an alarm with its journal."""
        async with self._engine.connect() as db:
            found = await _load(db, alarm)
            if found is None:
                return None
            rows = await db.execute(
                sa.select(_events).where(_events.c.alarm == alarm).order_by(_events.c.at_ms, _events.c.id)
            )
            return found, [
                {"id": row.id, "at_ms": row.at_ms, "kind": row.kind, "body": msgspec.json.decode(row.body)}
                for row in rows
            ]

    async def quarantine(self, payload: bytes, reason: str) -> None:
        """Keep a message that cannot be read."""
        async with self._writing, self._engine.begin() as db:
            await db.execute(
                _quarantine.insert().values(
                    at_ms=self._clock.now_ms(), reason=reason, payload=payload[: 1 << 20]
                )
            )

    def asserted_ms(self, alarm: Alarm) -> int:
        """Return when the feed last spoke of an alarm."""
        return self._asserted.get(alarm.id, alarm.received_ms)

    async def _take(self, db: AsyncConnection, message: AlarmMessage) -> dict[str, Alarm]:
        transition, now = message.transition, self._clock.now_ms()
        if (await db.execute(sa.select(_events.c.id).where(_events.c.id == transition.id))).first():
            return {}
        before = await _load(db, transition.alarm)
        after = apply(before, transition, now)
        changed = {after.id: after}
        await _save(db, after, fresh=before is None)
        body = msgspec.json.encode(transition)
        await db.execute(
            _events.insert().values(
                id=transition.id, alarm=after.id, at_ms=now, kind=transition.change.value, body=body
            )
        )
        if after.active and before is None:
            others = await db.execute(
                sa.select(_alarms.c.body).where(
                    _alarms.c.device == after.device,
                    _alarms.c.rule == after.rule,
                    _alarms.c.is_active,
                    _alarms.c.id != after.id,
                )
            )
            standing = [after, *(msgspec.json.decode(body, type=Alarm) for (body,) in others)]
            newest = max(standing, key=lambda alarm: alarm.began_ms)
            for older in standing:
                if older is not newest:
                    changed[older.id] = supersede(older, newest.began_ms)
                    await _save(db, changed[older.id], fresh=False)
        return changed


def _make_durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


async def _load(db: AsyncConnection, alarm: str) -> Alarm | None:
    row = (await db.execute(sa.select(_alarms.c.body).where(_alarms.c.id == alarm))).first()
    return None if row is None else msgspec.json.decode(row.body, type=Alarm)


async def _save(db: AsyncConnection, alarm: Alarm, *, fresh: bool) -> None:
    row = {"is_active": alarm.active, "is_open": alarm.state != "closed", "body": msgspec.json.encode(alarm)}
    if fresh:
        keys = {"id": alarm.id, "device": alarm.device, "rule": alarm.rule, "received_ms": alarm.received_ms}
        await db.execute(_alarms.insert().values(**keys, **row))
    else:
        await db.execute(_alarms.update().where(_alarms.c.id == alarm.id).values(**row))
