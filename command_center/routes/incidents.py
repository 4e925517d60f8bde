"""Incidents: the list, one with its timeline, and what people do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center import incident_deeds
from command_center.answers import Missing, as_json
from command_center.cap import issuing
from command_center.cap.issuing import warning_json
from command_center.openapi import answers
from command_center.people.rights import act_of, needs, touch
from command_center.people.sight import seen_by
from command_center.shapes.plans import Incident, IncidentRow
from command_center.tables import incident_alarms

if TYPE_CHECKING:
    from fastapi import FastAPI
    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.center import Center

Key = Annotated[str, Field(min_length=1, max_length=80)]


class Merge(BaseModel):
    """Another incident to merge into this one."""

    other: Key


class Split(BaseModel):
    """Alarms that are a business of their own."""

    alarms: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=1000)]


class Words(BaseModel):
    """With which words."""

    comment: Annotated[str, Field(max_length=500)] = ""


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""
    parts, reader = center.incidents, center.reader

    @api.get("/api/incidents", summary="Incidents, the open ones first", dependencies=[needs("read")])
    @answers(list[IncidentRow])
    async def get_incidents(
        request: Request,
        state: Literal["open", "all"] = "open",
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> Response:
        async with center.store.read() as db:
            found = await reader.some(db, only_open=state == "open", limit=limit, devices=seen_by(request))
        return as_json(found)

    @api.get(
        "/api/incidents/{incident}",
        summary="One incident: alarms and why, plans, timeline",
        dependencies=[needs("read")],
    )
    @answers(Incident)
    async def get_incident(incident: str) -> Response:
        return await _told(incident)

    @api.post(
        "/api/incidents/{incident}/merge",
        summary="Merge another incident into this one",
        dependencies=[needs("incident.edit")],
    )
    @answers(Incident)
    async def post_merge(incident: str, wanted: Merge, request: Request) -> Response:
        return await _do(incident, incident_deeds.merge, wanted.other, request)

    @api.post(
        "/api/incidents/{incident}/split",
        summary="Take alarms out into an incident of their own",
        dependencies=[needs("incident.edit")],
    )
    @answers(Incident)
    async def post_split(incident: str, wanted: Split, request: Request) -> Response:
        return await _do(incident, incident_deeds.split, wanted.alarms, request)

    @api.post(
        "/api/incidents/{incident}/close",
        summary="Close it though not all of its plan is done",
        dependencies=[needs("incident.edit")],
    )
    @answers(Incident)
    async def post_close(incident: str, by: Words, request: Request) -> Response:
        return await _do(incident, incident_deeds.close_by_hand, by.comment.strip(), request)

    @api.post(
        "/api/incidents/{incident}/comment", summary="Note something", dependencies=[needs("incident.edit")]
    )
    @answers(Incident)
    async def post_comment(incident: str, by: Words, request: Request) -> Response:
        return await _do(incident, incident_deeds.comment, by.comment.strip(), request)

    async def _do(incident: str, deed: Any, what: Any, request: Request) -> Response:
        async with center.store.change() as db:
            for one in (incident, what) if deed is incident_deeds.merge else (incident,):
                touch(request, await places_of(center, db, one))
            try:
                fresh = await deed(db, incident, what, parts, act_of(request), center.clock.now_ms())
            except KeyError as error:
                raise _no(str(error.args[0])) from None
        return await _told(fresh or incident)

    async def _told(incident: str) -> Response:
        async with center.store.read() as db:
            found = await reader.one(db, incident)
            if found is None:
                raise _no(incident)
            found["warnings"] = [warning_json(one) for one in await issuing.of(db, incident)]
        return as_json({**found, "cameras": center.cameras_near(one["device"] for one in found["members"])})


async def places_of(center: Center, db: AsyncConnection, incident: str) -> frozenset[str]:
    """Return where the devices of an incident's alarms are."""
    query = sa.select(incident_alarms.c.device).where(incident_alarms.c.incident == incident)
    return frozenset().union(*(center.places_of(device) for (device,) in await db.execute(query)))


def _no(incident: str) -> Missing:
    return Missing(f"没有事件 {incident}", f"there is no incident {incident}")
