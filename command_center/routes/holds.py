"""What is shelved or out of service, and maintenance of whole devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center.answers import Missing, as_error, as_json
from command_center.holds import Wanted
from command_center.routes.alarms import Name, act_of

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center


class Maintenance(BaseModel):
    """A device to be out of service from now, or from ``since_ms``, until ``until_ms`` (UTC ms)."""

    name: Name
    device: Annotated[str, Field(min_length=1, max_length=64)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    since_ms: Annotated[int, Field(ge=0)] | None = None
    until_ms: Annotated[int, Field(ge=0)]


class Release(BaseModel):
    """Who ends a hold."""

    name: Name


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""

    @api.get("/api/holds", summary="What is shelved or out of service, now or to come")
    async def get_holds() -> Response:
        return as_json(await center.desk.held())

    @api.post("/api/holds", summary="Take a device out of service for a while")
    async def post_hold(wanted: Maintenance, request: Request) -> Response:
        if center.data.known["devices"] and not center.data.device(wanted.device):
            return as_error(422, f"没有设备 {wanted.device}", f"there is no device {wanted.device}")
        since = center.clock.now_ms() if wanted.since_ms is None else wanted.since_ms
        hold = Wanted(wanted.device, wanted.reason.strip(), since, wanted.until_ms)
        center.publish(await center.desk.hold(hold, act_of(request, wanted.name.strip())))
        return as_json(await center.desk.held())

    @api.post("/api/holds/{hold}/end", summary="End a hold before its time")
    async def post_end(hold: str, by: Release, request: Request) -> Response:
        try:
            changed = await center.desk.release(hold, act_of(request, by.name.strip()))
        except KeyError:
            raise Missing(f"没有搁置或停用 {hold}", f"no hold {hold} stands") from None
        center.publish(changed)
        return as_json(await center.desk.held())
