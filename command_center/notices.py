"""What follows from an alarm for people: steps and notices, written in the transaction of the alarm itself.

::

    alarm asks ──policy──▶ steps (due, pending) ──due: who is on duty──▶ notices (pending → sending → accepted → …)
    acknowledged, shelved, out of service ──▶ what is still pending is cancelled        over ──▶ who was told hears it
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from command_center import audit
from command_center.channel import Message
from command_center.lifecycle import Alarm
from command_center.people import contacts
from command_center.rosters import minutes, on_duty
from command_center.store import apart
from command_center.tables import alarms as _alarms
from command_center.tables import among
from command_center.tables import notices as _notices
from command_center.tables import steps as _steps
from telemetry.errors import Refused
from telemetry.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.audit import Act
    from command_center.policies import Policy, Quiet, Step, Told
    from telemetry.faults import Faults

    Standing = Callable[[str], Alarm | None]

_AT_ONCE = 500
_AGAIN_MS = 10_000
SENT = ("accepted", "delivered", "read", "acknowledged")


class Due(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step's body: which step of which policy, in which round of repeating."""

    policy: str
    step: int = 0
    repeat: int = 0


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """A notice's body: why, at which address, and the channels left to try; what the vendor said of it."""

    reason: str
    address: str
    left: tuple[str, ...] = ()
    count: int = 0
    """How many alarms a digest tells of."""
    code: str = ""
    said: str = ""
    digest: str = ""
    lane: int = 0
    """Which of the channel's robots it goes by."""
    message: Message | None = None
    """What was or is being sent, so that the same is sent again: vendors know a message by its words."""


class Telling:
    """A follower of the desk; ``site_of`` tells a device's site."""

    def __init__(self, told: Told, site_of: Callable[[str], str | None], faults: Faults) -> None:
        self._told, self._site_of, self._faults = told, site_of, faults
        self._broke: dict[str, int] = {}
        """Steps that broke, and when.  They stay due as they were: overdue ones keep the heartbeat back."""

    async def __call__(
        self, db: AsyncConnection, changes: Sequence[tuple[Alarm | None, Alarm]], now_ms: int
    ) -> None:
        """Plan, cancel and tell of recovery."""
        rows: list[dict[str, Any]] = []
        quieted: list[Alarm] = []
        over: list[Alarm] = []
        for before, after in changes:
            asked = before is not None and before.asks
            if after.asks and (before is None or not asked or after.worst > before.worst):
                if asked:
                    quieted.append(after)
                rows += self._plan(before, after, now_ms)
            elif asked and not after.asks:
                quieted.append(after)
            if before is not None and before.active and not after.active:
                over.append(after)
        if quieted:
            await self._cancel(db, quieted, now_ms)
        if over:
            await self._recovery(db, over, now_ms)
        if rows:
            await db.execute(_steps.insert(), rows)
            due = {row["id"]: row for row in rows if row["state"] == "pending" and row["due_ms"] <= now_ms}
            if due:
                standing = {after.id: after for _, after in changes}
                await self._expand(db, list(due.values()), standing.get, now_ms)

    async def turn(self, db: AsyncConnection, now_ms: int) -> bool:
        """Turn steps whose time has come into notices, those of the worst alarms first; return whether there were any."""
        self._broke = {step: at for step, at in self._broke.items() if 0 <= now_ms - at < _AGAIN_MS}
        due = (
            (_steps.c.state == "pending") & (_steps.c.due_ms <= now_ms) & ~among(db, _steps.c.id, self._broke)
        )
        worst_first = (sa.func.coalesce(_alarms.c.severity, 0).desc(), _steps.c.due_ms, _steps.c.id)
        query = (
            sa.select(_steps, _alarms.c.body.label("of"))
            .outerjoin(_alarms, _alarms.c.id == _steps.c.alarm)
            .where(due)
            .order_by(*worst_first)
            .limit(_AT_ONCE)
        )
        rows = [dict(row._mapping) for row in await db.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name for it
        if not rows:
            return False
        bodies = {row["alarm"]: row["of"] for row in rows}

        def standing(alarm: str) -> Alarm | None:
            body = bodies[alarm]
            return msgspec.json.decode(body, type=Alarm) if body else None

        await self._expand(db, rows, standing, now_ms)
        return True

    async def _expand(
        self, db: AsyncConnection, rows: Sequence[dict[str, Any]], standing: Standing, now_ms: int
    ) -> None:
        """Write the notices of steps; one that breaks costs itself alone, and is tried again while its alarm asks."""

        def broke(row: dict[str, Any], error: Exception) -> None:
            self._faults.note("steps", error, step=row["id"])
            self._broke[row["id"]] = now_ms

        await apart(db, rows, lambda some: self._written(db, some, standing, now_ms), broke)

    async def _written(
        self, db: AsyncConnection, rows: Sequence[dict[str, Any]], standing: Standing, now_ms: int
    ) -> None:
        """Write the notices of steps, to whoever is on duty now; repeat a chain that is at its end."""
        states: list[dict[str, Any]] = []
        notices: list[dict[str, Any]] = []
        again: list[dict[str, Any]] = []
        proven = await contacts.proven(db)
        for row in rows:
            due, alarm = msgspec.json.decode(row["body"], type=Due), standing(row["alarm"])
            policy = self._told.named(due.policy)
            if alarm is None or not alarm.asks or policy is None or due.step >= len(policy.steps):
                states.append({"key": row["id"], "to": "cancelled"})
                continue
            made = self._notices(row["id"], policy, due, alarm, now_ms, proven)
            notices += made
            states.append({"key": row["id"], "to": "done" if made else "nobody"})
            if due.step == len(policy.steps) - 1 and due.repeat < policy.repeat_most:
                chain = row["id"].rsplit(".", 1)[0].split("~")[0] + f"~{due.repeat + 1}"
                again += self._chain(
                    alarm, policy, chain, now_ms + int(policy.repeat_s * 1000), due.repeat + 1
                )
        await db.execute(
            _steps.update().where(_steps.c.id == sa.bindparam("key")).values(state=sa.bindparam("to")), states
        )
        if notices:
            await db.execute(_notices.insert(), notices)
        if again:
            await db.execute(_steps.insert(), again)

    def _plan(self, before: Alarm | None, alarm: Alarm, now: int) -> list[dict[str, Any]]:
        """Return the rows of an alarm's chain; one that says so when no policy matches or it chatters."""
        chain = f"{alarm.id}/{alarm.version}"
        policy = self._told.policy(alarm, self._site_of(alarm.device))
        row = {"id": f"{chain}.0", "alarm": alarm.id, "due_ms": now}
        if policy is None:
            return [{**row, "state": "no_policy", "body": msgspec.json.encode(Due(""))}]
        if before is None and alarm.chattering:  # it was told of twice within the minute; the count goes on
            return [{**row, "state": "chattering", "body": msgspec.json.encode(Due(policy.name))}]
        begin = now
        if policy.quiet and alarm.worst is not Severity.RED:
            begin += quiet_ms(policy.quiet, now, self._told)
        return self._chain(alarm, policy, chain, begin, 0)

    @staticmethod
    def _chain(alarm: Alarm, policy: Policy, chain: str, begin: int, repeat: int) -> list[dict[str, Any]]:
        return [
            {"id": f"{chain}.{n}", "alarm": alarm.id, "due_ms": begin + int(step.after_s * 1000), "state": "pending",
             "body": msgspec.json.encode(Due(policy.name, n, repeat))}
            for n, step in enumerate(policy.steps)
        ]  # fmt: skip

    def _notices(
        self, key: str, policy: Policy, due: Due, alarm: Alarm, now: int, proven: frozenset[str]
    ) -> list[dict[str, Any]]:
        made = []
        is_red = alarm.worst is Severity.RED
        for who, address, by in addressed(self._told, policy.steps[due.step], now, proven, is_red=is_red):
            body = Body("repeat" if due.repeat else "alarm", address, by[1:])
            made.append(notice_row(f"{key}/{who}/0", alarm, who, by[0], body, now))
        return made

    async def _cancel(self, db: AsyncConnection, alarms: Sequence[Alarm], now: int) -> None:
        """Nobody needs to hear any more what has not been said; who answered has answered."""
        keys = [alarm.id for alarm in alarms]
        mine = _steps.c.alarm.in_(keys) & (_steps.c.state == "pending")
        await db.execute(_steps.update().where(mine).values(state="cancelled"))
        waiting = _notices.c.alarm.in_(keys) & (_notices.c.state == "pending")
        await db.execute(_notices.update().where(waiting).values(state="cancelled", done_ms=now))
        names = {person.name.zh: who for who, person in self._told.setup.people.items()}
        for alarm in alarms:
            who = names.get(alarm.acknowledged_by or "", alarm.acknowledged_by)
            if who in self._told.setup.people:
                sent = (
                    (_notices.c.alarm == alarm.id) & (_notices.c.person == who) & _notices.c.state.in_(SENT)
                )
                await db.execute(_notices.update().where(sent).values(state="acknowledged", done_ms=now))

    async def _recovery(self, db: AsyncConnection, alarms: Sequence[Alarm], now: int) -> None:
        """Whoever was told that it began is told that it is over, on or off duty, shelved or not."""
        by_id = {alarm.id: alarm for alarm in alarms}
        told = (_notices.c.alarm.in_(list(by_id))) & _notices.c.state.in_([*SENT, "sending"])
        rows = (
            await db.execute(
                sa.select(_notices.c.alarm, _notices.c.person, _notices.c.channel).where(told).distinct()
            )
        ).all()
        made = []
        for row in rows:
            alarm, person = by_id[row.alarm], self._told.setup.people.get(row.person)
            policy = self._told.policy(alarm, self._site_of(alarm.device))
            if person and row.channel in person.reach and (policy is None or policy.tell_recovery):
                key = f"{alarm.id}/over.{alarm.version}/{row.person}/{row.channel}"
                made.append(
                    notice_row(
                        key,
                        alarm,
                        row.person,
                        row.channel,
                        Body("recovery", person.reach[row.channel]),
                        now,
                        urgent=False,
                    )
                )
        if made:
            await db.execute(_notices.insert(), made)


def addressed(
    told: Told, step: Step, now_ms: int, proven: frozenset[str], *, is_red: bool
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return whom a step reaches now: each with the address at the first channel, and all channels in order.

    ``proven`` are the keys of the addresses that are known to reach their people; they come first.
    """
    people: list[str] = []
    for name in step.tell:
        rosters = told.setup.rosters
        people += on_duty(rosters[name], now_ms, told.zone) if name in rosters else (name,)
    found = []
    for who in dict.fromkeys(people):
        reach = told.setup.people[who].reach
        by = tuple(channel for channel in step.by if channel in reach)
        if by := contacts.in_order(told, who, by, proven, is_red=is_red):
            found.append((who, reach[by[0]], by))
    return found


def notice_row(
    key: str, alarm: Alarm, person: str, channel: str, body: Body, now: int, *, urgent: bool | None = None
) -> dict[str, Any]:
    """Return the row of a notice that waits to be sent."""
    red = alarm.worst is Severity.RED
    return {
        "id": key, "alarm": alarm.id, "person": person, "channel": channel, "state": "pending",
        "urgent": red if urgent is None else urgent, "rank": int(alarm.worst), "due_ms": now, "created_ms": now,
        "attempts": 0, "body": msgspec.json.encode(body),
    }  # fmt: skip


def quiet_ms(quiet: Quiet, now_ms: int, told: Told) -> int:
    """Return how long the quiet hours last from now; 0 outside them."""
    local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(told.zone)
    minute, begin, end = local.hour * 60 + local.minute, minutes(quiet.begin), minutes(quiet.end)
    within = begin <= minute < end if begin < end else minute >= begin or minute < end
    if not within:
        return 0
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    until = midnight + timedelta(minutes=end) + timedelta(days=1 if end <= minute else 0)
    return int((until - local).total_seconds() * 1000)


async def is_answered(db: AsyncConnection, alarm: str, reason: str) -> bool:
    """Return whether somebody answered, or it is over, while a message that asks for it was on its way."""
    if reason not in {"alarm", "repeat", "plan"}:
        return False
    body = (await db.execute(sa.select(_alarms.c.body).where(_alarms.c.id == alarm))).scalar_one()
    return not msgspec.json.decode(body, type=Alarm).asks


async def again(db: AsyncConnection, key: str, told: Told, act: Act, now: int) -> str:
    """Let a notice that failed or expired be sent once more, under the same id; return its alarm.

    Raises KeyError for no such notice, :class:`Refused` for one that was taken or is on its way, or whose address is gone.
    """
    row = (await db.execute(sa.select(_notices).where(_notices.c.id == key))).first()
    if row is None:
        raise KeyError(key)
    if row.state not in {"failed", "expired"}:
        raise Refused(f"not again: it is {row.state}")
    reach = told.setup.people[row.person].reach if row.person in told.setup.people else {}
    if row.channel not in reach:
        raise Refused(f"'{row.person}' is not reached by '{row.channel}'")
    body = msgspec.json.decode(row.body, type=Body)
    body = Body(body.reason, reach[row.channel], count=body.count)
    fresh = {
        "state": "pending",
        "attempts": 0,
        "due_ms": now,
        "created_ms": now,
        "sent_ms": None,
        "done_ms": None,
    }
    await db.execute(
        _notices.update().where(_notices.c.id == key).values(**fresh, body=msgspec.json.encode(body))
    )
    await audit.write(db, now, act, "notice.again", row.alarm, after={"notice": key, "channel": row.channel})
    alarm: str = row.alarm
    return alarm


async def of_alarm(db: AsyncConnection, alarm: str, told: Told) -> list[dict[str, Any]]:
    """Return who was or will be told of an alarm, how, when, and what proves it."""
    rows = await db.execute(
        sa.select(_notices).where(_notices.c.alarm == alarm).order_by(_notices.c.created_ms, _notices.c.id)
    )
    found = []
    proven = await contacts.proven(db)
    for row in rows:
        body, person = msgspec.json.decode(row.body, type=Body), told.setup.people.get(row.person)
        found.append(
            {
                "id": row.id, "person": row.person, "name": person.name if person else {"zh": row.person, "en": row.person},
                "channel": row.channel, "state": row.state, "reason": body.reason, "attempts": row.attempts,
                "created_ms": row.created_ms, "due_ms": row.due_ms, "sent_ms": row.sent_ms, "done_ms": row.done_ms,
                "provider_id": row.provider_id, "code": body.code, "said": body.said, "receipt": body.digest,
                "bundle": row.bundle,
                "verified": contacts.is_good(told, row.person, row.channel, body.address, proven),
            }
        )  # fmt: skip
    waiting = await db.execute(
        sa.select(_steps).where(
            (_steps.c.alarm == alarm) & _steps.c.state.in_(["pending", "nobody", "no_policy", "chattering"])
        )
    )
    for row in waiting:
        due = msgspec.json.decode(row.body, type=Due)
        found.append(
            {
                "id": row.id,
                "state": row.state,
                "reason": "step",
                "policy": due.policy,
                "step": due.step,
                "due_ms": row.due_ms,
            }
        )
    return found
