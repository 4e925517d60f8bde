"""Incidents: the list, one with its timeline, and what people do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center import incident_deeds
from command_center.answers import Missing, as_json
from command_center.routes.alarms import Name, act_of

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center

Key = Annotated[str, Field(min_length=1, max_length=80)]


class Merge(BaseModel):
    """Another incident to merge into this one."""

    name: Name
    other: Key


class Split(BaseModel):
    """Alarms that are a business of their own."""

    name: Name
    alarms: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=1000)]


class Words(BaseModel):
    """Who, and with which words."""

    name: Name
    comment: Annotated[str, Field(max_length=500)] = ""


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""
    parts, reader = center.incidents, center.reader

    @api.get("/api/incidents", summary="Incidents, the open ones first")
    async def get_incidents(
        state: Literal["open", "all"] = "open", limit: Annotated[int, Query(ge=1, le=1000)] = 200
    ) -> Response:
        async with center.store.read() as db:
            return as_json(await reader.some(db, only_open=state == "open", limit=limit))

    @api.get("/api/incidents/{incident}", summary="One incident: alarms and why, plans, timeline")
    async def get_incident(incident: str) -> Response:
        return await _told(incident)

    @api.post("/api/incidents/{incident}/merge", summary="Merge another incident into this one")
    async def post_merge(incident: str, wanted: Merge, request: Request) -> Response:
        return await _do(incident, incident_deeds.merge, wanted.other, act_of(request, wanted.name))

    @api.post("/api/incidents/{incident}/split", summary="Take alarms out into an incident of their own")
    async def post_split(incident: str, wanted: Split, request: Request) -> Response:
        return await _do(incident, incident_deeds.split, wanted.alarms, act_of(request, wanted.name))

    @api.post("/api/incidents/{incident}/close", summary="Close it though not all of its plan is done")
    async def post_close(incident: str, by: Words, request: Request) -> Response:
        return await _do(incident, incident_deeds.close_by_hand, by.comment.strip(), act_of(request, by.name))

    @api.post("/api/incidents/{incident}/comment", summary="Note something")
    async def post_comment(incident: str, by: Words, request: Request) -> Response:
        return await _do(incident, incident_deeds.comment, by.comment.strip(), act_of(request, by.name))

    async def _do(incident: str, deed: Any, what: Any, act: Any) -> Response:
        async with center.store.change() as db:
            try:
                fresh = await deed(db, incident, what, parts, act, center.clock.now_ms())
            except KeyError as error:
                raise _no(str(error.args[0])) from None
        center.tell_incidents()
        return await _told(fresh or incident)

    async def _told(incident: str) -> Response:
        async with center.store.read() as db:
            found = await reader.one(db, incident)
        if found is None:
            raise _no(incident)
        return as_json({**found, "cameras": center.cameras_near(one["device"] for one in found["members"])})


def _no(incident: str) -> Missing:
    return Missing(f"没有事件 {incident}", f"there is no incident {incident}")
