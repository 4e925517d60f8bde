"""What is shelved or out of service, and maintenance of whole devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center.answers import Denied, Missing, as_error, as_json
from command_center.holds import Wanted
from command_center.openapi import answers
from command_center.people.rights import act_of, needs, person_of, touch
from command_center.people.sight import seen_by
from command_center.shapes.desk import HoldNow

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center


class Maintenance(BaseModel):
    """A device to be out of service from now, or from ``since_ms``, until ``until_ms`` (UTC ms)."""

    device: Annotated[str, Field(min_length=1, max_length=64)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    since_ms: Annotated[int, Field(ge=0)] | None = None
    until_ms: Annotated[int, Field(ge=0)]


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""

    @api.get(
        "/api/holds",
        summary="What is shelved or out of service, now or to come",
        dependencies=[needs("read")],
    )
    @answers(list[HoldNow])
    async def get_holds(request: Request) -> Response:
        return as_json(await center.desk.held(seen_by(request)))

    @api.post(
        "/api/holds",
        summary="Take a device out of service for a while",
        dependencies=[needs("device.withdraw")],
    )
    @answers(list[HoldNow])
    async def post_hold(wanted: Maintenance, request: Request) -> Response:
        if center.data.known["devices"] and not center.data.device(wanted.device):
            return as_error(422, f"没有设备 {wanted.device}", f"there is no device {wanted.device}")
        touch(request, center.places_of(wanted.device))
        since = center.clock.now_ms() if wanted.since_ms is None else wanted.since_ms
        hold = Wanted(wanted.device, wanted.reason.strip(), since, wanted.until_ms)
        center.publish(await center.desk.hold(hold, act_of(request)))
        return as_json(await center.desk.held(seen_by(request)))

    @api.post(
        "/api/holds/{hold}/end", summary="End a hold before its time", dependencies=[needs("alarm.shelve")]
    )
    @answers(list[HoldNow])
    async def post_end(hold: str, request: Request) -> Response:
        found = next((one for one in await center.desk.held() if one["id"] == hold), None)
        if found is None:
            raise Missing(f"没有搁置或停用 {hold}", f"no hold {hold} stands")
        touch(request, center.places_of(found["device"]))
        if found["kind"] != "shelved" and not person_of(request).may("device.withdraw"):
            raise Denied(403, "您没有此项权限", "a device comes back into service by who may withdraw it")
        try:
            changed = await center.desk.release(hold, act_of(request))
        except KeyError:
            raise Missing(f"没有搁置或停用 {hold}", f"no hold {hold} stands") from None
        center.publish(changed)
        return as_json(await center.desk.held(seen_by(request)))
