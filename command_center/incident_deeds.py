"""What people do to incidents: merge, split, close, comment; each with its entry in the audit trail."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from command_center import audit, correlation
from command_center.correlation import Why
from command_center.incidents import Body, Incidents, Joined, note, undone
from command_center.lifecycle import Alarm
from command_center.tables import actions as _actions
from command_center.tables import alarms as _alarms
from command_center.tables import incident_alarms as _members
from command_center.tables import incidents as _incidents
from telemetry.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.audit import Act


async def merge(db: AsyncConnection, into: str, other: str, parts: Incidents, act: Act, now: int) -> None:
    """Make the alarms of ``other`` those of ``into``; KeyError for one that is not there."""
    if into == other:
        raise Refused("an incident cannot be merged with itself")
    for key in (into, other):
        if (row := await load(db, key)).state != "open":
            raise Refused(f"it is {row.state}: {key}")
    moved = await _alarms_of(db, other)
    await _move(db, [alarm.id for alarm in moved], into, act)
    gone = msgspec.json.decode((await load(db, other)).body, type=Body)
    gone = msgspec.structs.replace(gone, merged_into=into)
    values = {"state": "merged", "closed_ms": now, "body": msgspec.json.encode(gone)}
    await db.execute(_incidents.update().where(_incidents.c.id == other).values(**values))
    await _recount(db, into, parts)
    keys = [alarm.id for alarm in moved]
    await note(db, into, "merged", {"name": act.who, "from": other, "alarms": keys}, now)
    await note(db, other, "merged_into", {"name": act.who, "into": into}, now)
    await audit.write(db, now, act, "incident.merge", into, after={"from": other, "alarms": keys})
    parts.tell(db, into, other)


async def split(
    db: AsyncConnection, key: str, alarms: Sequence[str], parts: Incidents, act: Act, now: int
) -> str:
    """Take alarms out of an incident into one of their own; return its id."""
    row = await load(db, key)
    if row.state != "open":
        raise Refused(f"it is {row.state}: {key}")
    mine = await _alarms_of(db, key)
    going = [alarm for alarm in mine if alarm.id in alarms]
    if len(going) != len(set(alarms)):
        raise Refused("not all of these alarms are in this incident")
    if len(going) == len(mine):
        raise Refused("an alarm has to stay behind")
    fresh = f"inc-{going[0].id[:40]}-{uuid.uuid4().hex[:8]}"
    body = Body(going[0].title, going[0].category)
    values = {"id": fresh, "state": "open", "opened_ms": going[0].began_ms, "worst": 0}
    await db.execute(_incidents.insert().values(**values, body=msgspec.json.encode(body)))
    await _move(db, [alarm.id for alarm in going], fresh, act)
    for one in (key, fresh):
        await _recount(db, one, parts)
    keys = [alarm.id for alarm in going]
    await note(db, key, "split", {"name": act.who, "into": fresh, "alarms": keys}, now)
    await note(db, fresh, "split_from", {"name": act.who, "from": key, "alarms": keys}, now)
    await audit.write(db, now, act, "incident.split", key, after={"into": fresh, "alarms": keys})
    parts.tell(db, key, fresh)
    return fresh


async def close_by_hand(
    db: AsyncConnection, key: str, comment: str, parts: Incidents, act: Act, now: int
) -> None:
    """Close an incident whose causes are gone; what is left undone wants words, and actions that wait are given up."""
    row = await load(db, key)
    if row.state != "open":
        raise Refused(f"it is {row.state}: {key}")
    standing = [alarm for alarm in await _alarms_of(db, key) if alarm.is_open]
    if standing:
        raise Refused(f"{len(standing)} of its alarms are not closed, such as {standing[0].id}")
    left = await undone(db, key, parts.plans)
    if left and not comment:
        raise Refused("a comment is needed, for not all is done: " + "; ".join(one.en for one in left[:5]))
    mine = sa.select(_members.c.alarm).where(_members.c.incident == key)
    waits = _actions.c.run.in_(mine) & (_actions.c.state == "waiting")
    await db.execute(_actions.update().where(waits).values(state="expired"))
    await parts.close(db, key, act.who, now, comment)
    after = {"comment": comment, "undone": [one.zh for one in left]}
    await audit.write(db, now, act, "incident.close", key, after=after)


async def comment(db: AsyncConnection, key: str, text: str, parts: Incidents, act: Act, now: int) -> None:
    """Note something on an incident."""
    await load(db, key)
    if not text:
        raise Refused("a comment has words")
    await note(db, key, "comment", {"name": act.who, "comment": text}, now)
    await audit.write(db, now, act, "incident.comment", key, after={"comment": text})
    parts.tell(db, key)


async def load(db: AsyncConnection, key: str) -> Any:
    """Return an incident's row; KeyError where there is none."""
    row = (await db.execute(sa.select(_incidents).where(_incidents.c.id == key))).first()
    if row is None:
        raise KeyError(key)
    return row


async def _alarms_of(db: AsyncConnection, key: str) -> list[Alarm]:
    rows = await db.execute(
        sa.select(_alarms.c.body)
        .join(_members, _members.c.alarm == _alarms.c.id)
        .where(_members.c.incident == key)
    )
    found = [msgspec.json.decode(row.body, type=Alarm) for row in rows]
    return sorted(found, key=lambda alarm: (alarm.began_ms, alarm.id))


async def _move(db: AsyncConnection, alarms: Sequence[str], into: str, act: Act) -> None:
    body = msgspec.json.encode(Joined(Why("person", by=act.who)))
    await db.execute(_members.update().where(_members.c.alarm.in_(alarms)).values(incident=into, body=body))


async def _recount(db: AsyncConnection, key: str, parts: Incidents) -> None:
    """Find an incident's worst alarm, title and place anew."""
    alarms = await _alarms_of(db, key)
    worst = max(alarms, key=lambda alarm: (alarm.worst, -alarm.began_ms, alarm.id))
    places = [parts.ground.place(alarm.device) for alarm in alarms]
    body = msgspec.json.decode((await load(db, key)).body, type=Body)
    body = msgspec.structs.replace(
        body, title=worst.title, category=worst.category, place=tuple(correlation.path(places, parts.sites()))
    )
    values = {"worst": int(worst.worst), "opened_ms": alarms[0].began_ms, "body": msgspec.json.encode(body)}
    await db.execute(_incidents.update().where(_incidents.c.id == key).values(**values))
