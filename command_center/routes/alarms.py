"""Alarms: the list, one with its journal, and what people do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from command_center import incidents, listing, notices, runs
from command_center.answers import Missing, as_json
from command_center.deeds import Deed, Kind
from command_center.openapi import answers
from command_center.people.rights import Right, act_of, needs, touch
from command_center.people.sight import seen_by
from command_center.shapes import Colour
from command_center.shapes.desk import AlarmNow, AlarmRecord, Sweep, Swept
from telemetry.transitions import Category

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import FastAPI

    from command_center.center import Center

MOST_AT_ONCE = 1000
_NAME = r"^[^\x00-\x1f]{0,128}$"
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
    until_ms: Annotated[int, Field(ge=0, strict=True)] | None = None
    until_resolved: StrictBool = False
    version: StrictInt | None = None


class Seen(BaseModel):
    """An alarm as a person saw it."""

    id: Annotated[str, Field(max_length=64)]
    version: StrictInt | None = None


class Many(BaseModel):
    """Many alarms to acknowledge at once; ``dry_run`` only tells what it would come to."""

    comment: Annotated[str, Field(max_length=500)] = ""
    alarms: Annotated[list[Seen], Field(min_length=1, max_length=MOST_AT_ONCE)]
    dry_run: StrictBool = False


class Asked(BaseModel):
    """Which alarms, in which order; several filters are all to hold."""

    model_config = ConfigDict(extra="ignore")

    state: Literal["open", "all"] = "open"
    sort: Literal["newest", "worst"] = "newest"
    limit: Annotated[int, Field(ge=1, le=5000)] = 500
    after: Annotated[str, Field(pattern=r"^([0-4]\.[0-9]{1,15}\.[!-~]{1,64})?$")] = ""
    severity: Colour | None = None
    category: Category | None = None
    class_: Annotated[str, Field(alias="class", pattern=_NAME)] = ""
    rule: Annotated[str, Field(pattern=_NAME)] = ""
    device: Annotated[str, Field(pattern=_NAME)] = ""
    site: Annotated[str, Field(pattern=_NAME)] = ""
    asks: bool | None = None

    def wanted(self, devices: Iterable[dict[str, Any]], seen: frozenset[str] | None) -> listing.Wanted:
        """Return it as the desk wants it; ``devices`` say what is at a site, of which who asks sees those in ``seen``."""
        limits = [seen] if seen is not None else []
        if self.device:
            limits.append(frozenset({self.device}))
        if self.site:
            limits.append(frozenset(one["id"] for one in devices if one.get("site") == self.site))
        return listing.Wanted(
            self.state == "open", self.sort, self.limit, self.after, self.severity, self.category, self.class_, self.rule,
            frozenset.intersection(*limits) if limits else None, self.asks,
        )  # fmt: skip


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""
    desk = center.desk

    @api.get(
        "/api/alarms",
        summary='A page of alarms; where there are more, `Link: <…>; rel="next"` is the next one',
        dependencies=[needs("read")],
    )
    @answers(list[AlarmNow])
    async def get_alarms(request: Request, asked: Annotated[Asked, Query()]) -> Response:
        wanted = asked.wanted(center.data.known["devices"], seen_by(request))
        found = await desk.page(wanted)
        answer = as_json([center.json_of(alarm) for alarm in found])
        if len(found) == wanted.limit:
            following = request.url.include_query_params(after=listing.after(found[-1]))
            answer.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
        return answer

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
        seen, elsewhere, wanted = seen_by(request), {}, []
        of = await desk.devices_of(one.id for one in many.alarms)
        for one in many.alarms:
            if seen is not None and one.id in of and of[one.id] not in seen:
                elsewhere[one.id] = "outside your areas"
            else:
                wanted.append((one.id, one.version))
        if many.dry_run:
            return as_json(await _summary([key for key, _ in wanted]))
        done, left = await desk.acknowledge_all(wanted, many.comment.strip(), act_of(request))
        left |= elsewhere
        center.publish(done)
        return as_json({"acknowledged": [alarm.id for alarm in done], "left": left})

    async def _summary(keys: list[str]) -> dict[str, Any]:
        counts = dict.fromkeys(("orange", "yellow", "blue"), 0)
        red = gone = 0
        standing = {key: alarm for key, alarm in (await desk.some(keys)).items() if alarm.is_open}
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
