"""Alarms: the list, one with its journal, and what people do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center import incidents, notices, runs
from command_center.answers import Missing, as_json
from command_center.deeds import Deed, Kind
from command_center.openapi import answers
from command_center.people.rights import Right, act_of, needs, person_of, touch
from command_center.people.sight import seen_by
from command_center.shapes.desk import AlarmNow, AlarmRecord, Sweep, Swept

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center

MOST_AT_ONCE = 1000
NEEDED: dict[Kind, Right] = {
    "acknowledge": "alarm.acknowledge",
    "take_back": "alarm.acknowledge",
    "reset": "alarm.acknowledge",
    "assign": "alarm.assign",
    "comment": "alarm.comment",
    "shelve": "alarm.shelve",
    "unshelve": "alarm.shelve",
    "withdraw": "device.withdraw",
    "restore": "device.withdraw",
}


_SUMMARIES: dict[Kind, str] = {
    "acknowledge": "Say that it is seen",
    "take_back": "Take the acknowledgement back",
    "reset": "Release a latched alarm",
    "assign": "Make it somebody's",
    "comment": "Add a note",
    "shelve": "Shelve it for a while, with a reason",
    "unshelve": "Take it from the shelf",
    "withdraw": "Take its device out of service",
    "restore": "Put its device back in service",
}


class Doing(BaseModel):
    """What a person does, with which words; the other fields stand where the deed needs them."""

    comment: Annotated[str, Field(max_length=500)] = ""
    to: Annotated[str, Field(max_length=64)] = ""
    until_ms: Annotated[int, Field(ge=0)] | None = None
    until_resolved: bool = False
    version: int | None = None


class Seen(BaseModel):
    """An alarm as a person saw it."""

    id: Annotated[str, Field(max_length=64)]
    version: int | None = None


class Many(BaseModel):
    """Many alarms to acknowledge at once; ``dry_run`` only tells what it would come to."""

    comment: Annotated[str, Field(max_length=500)] = ""
    alarms: Annotated[list[Seen], Field(min_length=1, max_length=MOST_AT_ONCE)]
    dry_run: bool = False


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""
    desk = center.desk

    @api.get("/api/alarms", summary="Alarms, newest first", dependencies=[needs("read")])
    @answers(list[AlarmNow])
    async def get_alarms(
        request: Request,
        state: Literal["open", "all"] = "open",
        limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    ) -> Response:
        found = await desk.alarms(only_open=state == "open", limit=limit, devices=seen_by(request))
        return as_json([center.json_of(alarm) for alarm in found])

    @api.get("/api/alarms/{alarm}", summary="One alarm with its journal", dependencies=[needs("read")])
    @answers(AlarmRecord)
    async def get_alarm(alarm: str) -> Response:
        found = await desk.alarm(alarm)
        if found is None:
            raise _no(alarm)
        async with center.store.read() as db:
            whole = {
                "history": found[1],
                "notices": await notices.of_alarm(db, alarm, center.told) if center.told else [],
                "run": await runs.of_run(db, alarm, center.planner.plans) if center.planner else None,
                "incident": await incidents.of_alarm(db, alarm),
            }
        return as_json({**center.json_of(found[0]), **whole})

    @api.post(
        "/api/alarms/acknowledge",
        summary="Acknowledge many; those that are or were red, or lie elsewhere, are left out",
        dependencies=[needs("alarm.acknowledge")],
    )
    @answers(Swept, Sweep)
    async def post_many(many: Many, request: Request) -> Response:
        person, elsewhere, wanted = person_of(request), {}, []
        of = await desk.devices_of(seen.id for seen in many.alarms)
        for seen in many.alarms:
            if seen.id in of and not person.is_charged_with(center.places_of(of[seen.id])):
                elsewhere[seen.id] = "outside your areas"
            else:
                wanted.append((seen.id, seen.version))
        if many.dry_run:
            return as_json(await _summary([key for key, _ in wanted]))
        done, left = await desk.acknowledge_all(wanted, many.comment.strip(), act_of(request))
        left |= elsewhere
        center.publish(done)
        return as_json({"acknowledged": [alarm.id for alarm in done], "left": left})

    async def _summary(keys: list[str]) -> dict[str, Any]:
        counts = dict.fromkeys(("orange", "yellow", "blue"), 0)
        red = gone = 0
        standing = {alarm.id: alarm for alarm in await desk.alarms(only_open=True, limit=100_000)}
        for key in keys:
            alarm = standing.get(key)
            if alarm is None or alarm.acknowledged_by:
                gone += 1
            elif alarm.worst.label.en == "red":
                red += 1
            else:
                counts[alarm.worst.label.en] += 1
        worst = next((word for word, count in counts.items() if count), None)
        return {
            "alarms": sum(counts.values()),
            "by_severity": counts,
            "worst": worst,
            "red_left": red,
            "not_waiting": gone,
        }

    def add_deed(deed: Kind) -> None:
        @api.post(
            f"/api/alarms/{{alarm}}/{deed}",
            summary=_SUMMARIES[deed],
            dependencies=[needs(NEEDED[deed])],
            name=deed,
        )
        @answers(AlarmNow)
        async def post_deed(alarm: str, by: Doing, request: Request) -> Response:
            for device in (await desk.devices_of([alarm])).values():
                touch(request, center.places_of(device))
            wanted = Deed(deed, by.comment.strip(), by.to.strip(), by.until_ms, by.until_resolved)
            try:
                changed = await desk.do(alarm, wanted, act_of(request), version=by.version)
            except KeyError:
                raise _no(alarm) from None
            center.publish(changed)
            return as_json(center.json_of(changed[0]))

    for deed in get_args(Kind):
        add_deed(deed)


def _no(alarm: str) -> Missing:
    return Missing(f"没有告警 {alarm}", f"there is no alarm {alarm}")
