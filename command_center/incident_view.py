"""Incidents as the API and the page show them: a list, and one with its alarms, plans, cameras and timeline."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from command_center import notices, runs, timeline
from command_center.incidents import Body, Joined, undone
from command_center.lifecycle import Alarm
from command_center.plans import RESPONSES
from command_center.tables import alarms as _alarms
from command_center.tables import among
from command_center.tables import events as _journal
from command_center.tables import incident_alarms as _members
from command_center.tables import incident_events as _events
from command_center.tables import incidents as _incidents
from command_center.tables import runs as _runs
from telemetry.severity import Severity
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.plans import Plans
    from command_center.policies import Told

MOST_ALARMS = 200
"""So many alarms of one incident are shown in full, the worst first; the rest are counted."""


class Reader:
    """Reads incidents; ``name_of`` tells a device's name."""

    def __init__(self, plans: Plans | None, told: Told | None, name_of: Callable[[str], Text | None]) -> None:
        self._plans, self._told = plans, told
        self._name_of = name_of

    def name(self, device: str) -> Text:
        """Return a device's name; its id where the registry knows none."""
        return self._name_of(device) or Text(device, device)

    async def some(
        self,
        db: AsyncConnection,
        *,
        only_open: bool,
        limit: int,
        keys: Sequence[str] | None = None,
        devices: Collection[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Return incidents, the open ones first, then the newest; ``keys`` for these alone.

        Of ``devices`` are those that an alarm of one of them is in.
        """
        query = sa.select(_incidents).where(_incidents.c.state != "merged")
        if only_open:
            query = query.where(_incidents.c.state == "open")
        if keys is not None:
            query = sa.select(_incidents).where(_incidents.c.id.in_(keys))
        if devices is not None:
            theirs = sa.select(_members.c.incident).where(among(db, _members.c.device, devices))
            query = query.where(_incidents.c.id.in_(theirs))
        order = (_incidents.c.state == "open").desc(), _incidents.c.opened_ms.desc(), _incidents.c.id
        rows = (await db.execute(query.order_by(*order).limit(limit))).all()
        ids = [row.id for row in rows]
        alarms, responses = await self._counts(db, ids), await self._plans_of(db, ids)
        return [self._row(row, alarms[row.id], responses.get(row.id, Counter())) for row in rows]

    def _row(self, row: Any, counts: Counter[str], chosen: Counter[str]) -> dict[str, Any]:
        body = msgspec.json.decode(row.body, type=Body)
        severity = Severity(row.worst)
        responses = [
            plan.response for plan in (self._plans.plans if self._plans else ()) if plan.id in chosen
        ]
        return {
            "id": row.id, "state": row.state, "opened_ms": row.opened_ms, "closed_ms": row.closed_ms,
            "severity": severity.label.en, "level": severity.level, "category": body.category,
            "response": min(responses, key=RESPONSES.index, default=None),
            "title": body.title, "place": body.place, "merged_into": body.merged_into or None, "closed_by": body.closed_by or None,
            "alarms": counts["all"], "open_alarms": counts["open"], "active_alarms": counts["active"],
            "plans": sorted(key for key in chosen if key), "without_plan": chosen[""],
        }  # fmt: skip

    async def one(self, db: AsyncConnection, key: str) -> dict[str, Any] | None:
        """Return an incident with everything of it; None where there is none."""
        found = await self.some(db, only_open=False, limit=1, keys=[key])
        if not found:
            return None
        rows = await db.execute(
            sa.select(_members, _alarms.c.body.label("of"))
            .join(_alarms, _alarms.c.id == _members.c.alarm)
            .where(_members.c.incident == key)
        )
        mine = [(msgspec.json.decode(row.of, type=Alarm), row) for row in rows]
        mine.sort(key=lambda one: (-one[0].worst, one[0].began_ms, one[0].id))
        alarms, moments = [], []
        for alarm, row in mine[:MOST_ALARMS]:
            joined = msgspec.json.decode(row.body, type=Joined)
            alarms.append(self._alarm(alarm, row, joined))
            moments.append(
                timeline.of_join(
                    alarm.id,
                    alarm.device,
                    row.joined_ms,
                    joined.why.words(self.name),
                    joined.why.tie,
                    self.name,
                )
            )
        told, more = await self._working(db, [alarm for alarm, _ in mine[:MOST_ALARMS]])
        events = await db.execute(sa.select(_events).where(_events.c.incident == key).order_by(_events.c.id))
        own = [{"at_ms": e.at_ms, "kind": e.kind, "body": msgspec.json.decode(e.body)} for e in events]
        moments += [*more, *timeline.of_events(own)]
        related = sorted({other for alarm in alarms for other in alarm["also"]})
        return {
            **found[0], "members": alarms, "runs": told, "related": related,
            "undone": await undone(db, key, self._plans), "timeline": timeline.in_order(moments),
        }  # fmt: skip

    def _alarm(self, alarm: Alarm, row: Any, joined: Joined) -> dict[str, Any]:
        return {
            "id": alarm.id, "device": alarm.device, "device_name": self.name(alarm.device), "rule": alarm.rule,
            "title": alarm.title, "severity": alarm.worst.label.en, "category": alarm.category, "state": alarm.state,
            "began_ms": alarm.began_ms, "ended_ms": alarm.ended_ms, "joined_ms": row.joined_ms,
            "acknowledged_by": alarm.acknowledged_by, "tie": joined.why.tie, "why": joined.why.words(self.name), "also": joined.also,
            "value": alarm.value, "unit": alarm.unit,
        }  # fmt: skip

    async def _working(
        self, db: AsyncConnection, alarms: Sequence[Alarm]
    ) -> tuple[list[dict[str, Any]], list[timeline.Moment]]:
        """Return the plans at work on alarms, and the moments of alarms, plans and notices."""
        journal: dict[str, list[dict[str, Any]]] = {}
        keys = [alarm.id for alarm in alarms]
        rows = await db.execute(sa.select(_journal).where(_journal.c.alarm.in_(keys)))
        for row in rows:
            entry = {"at_ms": row.at_ms, "kind": row.kind, "body": msgspec.json.decode(row.body)}
            journal.setdefault(row.alarm, []).append(entry)
        told, moments = [], []
        for alarm in alarms:
            moments += timeline.of_alarm(
                {"id": alarm.id, "device": alarm.device}, journal.get(alarm.id, ()), self.name
            )
            run = await runs.of_run(db, alarm.id, self._plans) if self._plans else None
            if run is not None:
                told.append({**run, "device": alarm.device})
                moments += timeline.of_run(run, alarm.device, self.name)
            if self._told:
                moments += timeline.of_notices(alarm.id, await notices.of_alarm(db, alarm.id, self._told))
        return told, moments

    async def _counts(self, db: AsyncConnection, ids: Sequence[str]) -> dict[str, Counter[str]]:
        counts: dict[str, Counter[str]] = {key: Counter() for key in ids}
        rows = await db.execute(
            sa.select(
                _members.c.incident, _alarms.c.is_open, _alarms.c.is_active, sa.func.count().label("count")
            )
            .join(_alarms, _alarms.c.id == _members.c.alarm)
            .where(_members.c.incident.in_(ids))
            .group_by(_members.c.incident, _alarms.c.is_open, _alarms.c.is_active)
        )
        for incident, is_open, is_active, count in rows:
            counts[incident]["all"] += count
            counts[incident]["open"] += count if is_open else 0
            counts[incident]["active"] += count if is_active else 0
        return counts

    async def _plans_of(self, db: AsyncConnection, ids: Sequence[str]) -> dict[str, Counter[str]]:
        rows = await db.execute(
            sa.select(_members.c.incident, _runs.c.plan, sa.func.count().label("count"))
            .join(_runs, _runs.c.id == _members.c.alarm)
            .where(_members.c.incident.in_(ids))
            .group_by(_members.c.incident, _runs.c.plan)
        )
        found: dict[str, Counter[str]] = {}
        for incident, plan, count in rows:
            found.setdefault(incident, Counter())[plan] += count
        return found
