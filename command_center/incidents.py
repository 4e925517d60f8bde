"""Incidents in the database: formed in the transaction of their alarms, closed when nothing of them is left to do.

An incident takes its id from its first alarm, and keeps it.  It never absorbs another by itself: where an alarm has
ties to two, it joins the closer one and names the other, and a person may merge them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from command_center import correlation
from command_center.cap import issuing
from command_center.correlation import Member, Place, Standing, Why, Windows
from command_center.lifecycle import Alarm
from command_center.store import tell_after
from command_center.tables import actions as _actions
from command_center.tables import alarms as _alarms
from command_center.tables import incident_alarms as _members
from command_center.tables import incident_events as _events
from command_center.tables import incidents as _incidents
from command_center.tables import runs as _runs
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from command_center.places import Ground
    from command_center.plans import Plans

UNDONE = ("waiting", "requested", "sent", "accepted", "executed")
"""States of an action that somebody or something is still busy with."""
_MOST_NAMED = 5000
"""Of more devices nobody is asked for by name: a database takes only so many."""


Closer = Callable[[AsyncConnection, str, str, int], Awaitable[None]]


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an incident's row holds beside its columns; title and event class are those of its worst alarm."""

    title: Text
    category: str
    place: tuple[dict[str, Any], ...] = ()
    merged_into: str = ""
    closed_by: str = ""


class Joined(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an alarm is in its incident, and which others it might have joined."""

    why: Why
    also: tuple[str, ...] = ()


class Incidents:
    """A follower of the desk.  ``ground`` tells where devices stand, ``sites`` are the registry's by id.

    ``on_change`` hears which incidents changed, when the change is on the disk.
    """

    def __init__(
        self,
        windows: Windows,
        ground: Ground,
        sites: Callable[[], Mapping[str, Mapping[str, Any]]],
        plans: Plans | None = None,
        on_change: Callable[[set[str]], object] = lambda _: None,
    ) -> None:
        self.windows, self.ground, self.sites, self.plans = windows, ground, sites, plans
        self.closers: list[Closer] = []
        """What else is done, in the same transaction, when an incident closes."""
        self._on_change = on_change

    async def __call__(
        self, db: AsyncConnection, changes: Sequence[tuple[Alarm | None, Alarm]], now_ms: int
    ) -> None:
        """Give each alarm that is news its incident, and bring the incidents of the others up to date."""
        alarms = {after.id: after for _, after in changes}
        rows = await db.execute(
            sa.select(_members.c.alarm, _members.c.incident).where(_members.c.alarm.in_(alarms))
        )
        of = {row.alarm: row.incident for row in rows}
        fresh = [
            alarm for key, alarm in alarms.items() if key not in of and _is_news(alarm)
        ]  # as the feed came
        if fresh:
            of |= await self._join(db, fresh, now_ms)
        if of:
            told = [(incident, alarms[alarm]) for alarm, incident in of.items()]
            await self._refresh(db, told, {alarm.id for alarm in fresh}, now_ms)
            self.tell(db, *of.values())

    def tell(self, db: AsyncConnection, *incidents: str) -> None:
        """Have it told that these changed, when it is on the disk that they did."""
        tell_after(db, self._on_change, incidents)

    async def _join(self, db: AsyncConnection, fresh: Sequence[Alarm], now: int) -> dict[str, str]:
        """Return the incident of each alarm; write the new incidents and who belongs to which."""
        standing = await self._standing(db, self.ground.near(alarm.device for alarm in fresh))
        causes = {alarm.by_design for alarm in fresh if alarm.by_design}
        known = await db.execute(
            sa.select(_members.c.alarm, _members.c.incident)
            .join(_incidents, _incidents.c.id == _members.c.incident)
            .where(_members.c.alarm.in_(causes) & (_incidents.c.state == "open"))
        )
        of_cause = {row.alarm: row.incident for row in known}
        of: dict[str, str] = {}
        opened, joined = [], []
        for alarm in fresh:
            place = self.ground.place(alarm.device)
            found = list(standing.ties(place, alarm.began_ms))
            if cause := of_cause.get(alarm.by_design or "") or of.get(alarm.by_design or ""):
                why = Why("cause", alarm.by_design or "")
                found = [(cause, why), *(one for one in found if one[0] != cause)]
            if not found and alarm.by_design:
                continue  # it asks nobody, and what it follows from is no incident
            if found:
                (incident, why), *others = found
            else:
                incident, why, others = f"inc-{alarm.id}", Why("first"), []
                opened.append(_opened(incident, alarm, correlation.path([place], self.sites())))
            of[alarm.id] = incident
            mine = incident, alarm.device, alarm.rule
            standing.put(mine, correlation.widened(standing.get(mine), incident, place, alarm.began_ms))
            joined.append(_joined(incident, alarm, place, Joined(why, tuple(key for key, _ in others)), now))
        if opened:
            await db.execute(_incidents.insert(), opened)
        if joined:
            await db.execute(_members.insert(), joined)
        return of

    async def _standing(self, db: AsyncConnection, near: set[str]) -> Standing:
        """Return what the open incidents hold of these devices."""
        m = _members.c
        held = (
            sa.select(m.incident, m.device, m.rule, sa.func.min(m.began_ms), sa.func.max(m.began_ms))
            .join(_incidents, _incidents.c.id == m.incident)
            .where(_incidents.c.state == "open")
            .group_by(m.incident, m.device, m.rule)
        )
        rows = await db.execute(held.where(m.device.in_(near)) if len(near) <= _MOST_NAMED else held)
        places: dict[str, Place] = {}
        standing = Standing(self.windows)
        for incident, device, rule, began, until in rows:
            if device not in places:
                places[device] = self.ground.place(device)
            standing.put((incident, device, rule), Member(incident, places[device], began, until))
        return standing

    async def _refresh(
        self, db: AsyncConnection, told: Iterable[tuple[str, Alarm]], fresh: set[str], now: int
    ) -> None:
        """Let each incident be as bad as its worst alarm and as wide as all of them; open again what asks again."""
        of: dict[str, list[Alarm]] = {}
        for incident, alarm in told:
            of.setdefault(incident, []).append(alarm)
        sites = self.sites()
        rows = await db.execute(sa.select(_incidents).where(_incidents.c.id.in_(of)))
        for row in rows.all():
            mine = of[row.id]
            body = msgspec.json.decode(row.body, type=Body)
            worst = max(mine, key=lambda alarm: (alarm.worst, -alarm.began_ms, alarm.id))
            values: dict[str, Any] = {}
            if worst.worst > row.worst:
                values["worst"] = int(worst.worst)
                body = msgspec.structs.replace(body, title=worst.title, category=worst.category)
            places = [self.ground.place(alarm.device) for alarm in mine if alarm.id in fresh]
            if places:
                shared = correlation.shared(body.place, correlation.path(places, sites))
                body = msgspec.structs.replace(body, place=tuple(shared))
            if row.state == "closed" and any(alarm.is_open for alarm in mine):
                values |= {"state": "open", "closed_ms": None}
                await note(db, row.id, "reopened", {"alarm": worst.id}, now)
            encoded = msgspec.json.encode(body)
            if values or encoded != row.body:
                await db.execute(
                    _incidents.update().where(_incidents.c.id == row.id).values(body=encoded, **values)
                )

    async def finished(self, db: AsyncConnection) -> list[str]:
        """Return the open incidents of which nothing is left: every alarm closed, every action and task at its end."""
        return [key for key in await over(db) if not await undone(db, key, self.plans)]

    async def settle(self, db: AsyncConnection, now_ms: int) -> None:
        """Close what is finished."""
        for key in await self.finished(db):
            await self.close(db, key, "", now_ms)

    async def close(self, db: AsyncConnection, incident: str, by: str, now: int, comment: str = "") -> None:
        """Close an incident; ``by`` nobody when it closes by itself."""
        row = (await db.execute(sa.select(_incidents.c.body).where(_incidents.c.id == incident))).one()
        body = msgspec.structs.replace(msgspec.json.decode(row.body, type=Body), closed_by=by)
        values = {"state": "closed", "closed_ms": now, "body": msgspec.json.encode(body)}
        await db.execute(_incidents.update().where(_incidents.c.id == incident).values(**values))
        for closer in self.closers:
            await closer(db, incident, by, now)
        await note(db, incident, "closed", {"name": by, "comment": comment}, now)
        self.tell(db, incident)


def _is_news(alarm: Alarm) -> bool:
    """Return whether an alarm makes or joins an incident: those from late data, on trial or held by a person do not."""
    return alarm.is_open and alarm.pages and alarm.suppression in ("none", "by_design")


def _opened(incident: str, alarm: Alarm, way: Sequence[dict[str, Any]]) -> dict[str, Any]:
    body = Body(alarm.title, alarm.category, tuple(way))
    return {
        "id": incident, "state": "open", "opened_ms": alarm.began_ms, "worst": int(alarm.worst),
        "body": msgspec.json.encode(body),
    }  # fmt: skip


def _joined(incident: str, alarm: Alarm, place: Place, joined: Joined, now: int) -> dict[str, Any]:
    return {
        "alarm": alarm.id, "incident": incident, "device": alarm.device, "rule": alarm.rule, "site": place.site,
        "began_ms": alarm.began_ms, "joined_ms": now, "body": msgspec.json.encode(joined),
    }  # fmt: skip


async def over(db: AsyncConnection) -> list[str]:
    """Return the open incidents of which no alarm is open any more."""
    standing = (
        sa.select(_members.c.alarm)
        .join(_alarms, _alarms.c.id == _members.c.alarm)
        .where((_members.c.incident == _incidents.c.id) & _alarms.c.is_open)
    )
    rows = await db.execute(
        sa.select(_incidents.c.id).where((_incidents.c.state == "open") & ~standing.exists())
    )
    return [row.id for row in rows]


async def undone(db: AsyncConnection, incident: str, plans: Plans | None) -> list[Text]:
    """Return what is still to be done on an incident's plans, in words."""
    mine = sa.select(_members.c.alarm).where(_members.c.incident == incident)
    left: list[Text] = []
    rows = await db.execute(
        sa.select(_actions.c.device, _actions.c.metric, _actions.c.state).where(
            _actions.c.run.in_(mine) & _actions.c.state.in_(UNDONE) & (_actions.c.mode == "live")
        )
    )
    left += [
        Text(f"动作 {row.metric}@{row.device}：{row.state}", f"{row.metric} of {row.device}: {row.state}")
        for row in rows
    ]
    named = {plan.id: plan for plan in plans.plans} if plans else {}
    for row in await db.execute(sa.select(_runs).where(_runs.c.id.in_(mine) & (_runs.c.mode == "live"))):
        done = msgspec.json.decode(row.body).get("done", {})
        tasks = named[row.plan].checklist if row.plan in named else ()
        left += [task.do for n, task in enumerate(tasks) if str(n) not in done]
    if issuing.is_public(await issuing.of(db, incident)):
        left.append(Text("公开预警尚未解除", "the public warning is not cancelled"))
    return left


async def of_alarm(db: AsyncConnection, alarm: str) -> str | None:
    """Return the incident that an alarm is in; None where it is in none."""
    found = await db.execute(sa.select(_members.c.incident).where(_members.c.alarm == alarm))
    return found.scalar_one_or_none()


async def note(db: AsyncConnection, incident: str, kind: str, body: Mapping[str, Any], now: int) -> None:
    """Append to an incident's own journal."""
    values = {"incident": incident, "at_ms": now, "kind": kind, "body": msgspec.json.encode(body)}
    await db.execute(_events.insert().values(**values))
