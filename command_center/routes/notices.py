"""Sending a message once more that failed or expired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import sqlalchemy as sa
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center import notices
from command_center.answers import Missing, as_json
from command_center.openapi import answers
from command_center.people.rights import act_of, needs, touch
from command_center.shapes.desk import NoticeNow
from command_center.tables import notices as _notices
from telemetry.errors import Refused

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center


class Notice(BaseModel):
    """A message of an alarm's record."""

    id: Annotated[str, Field(min_length=1, max_length=160)]


def add(api: FastAPI, center: Center) -> None:
    """Add the route."""

    @api.post(
        "/api/notices/again",
        summary="Send a message that failed or expired once more; answers with all of its alarm",
        dependencies=[needs("alarm.assign")],
    )
    @answers(list[NoticeNow], also=(404,))
    async def post_again(given: Notice, request: Request) -> Response:
        if center.told is None:
            raise Refused("nobody is told here: notify.file is not set")
        missing = Missing(f"没有消息 {given.id}", f"there is no message '{given.id}'")
        async with center.store.read() as db:
            alarm = (await db.execute(sa.select(_notices.c.alarm).where(_notices.c.id == given.id))).scalar()
        if alarm is None:
            raise missing
        for device in (await center.desk.devices_of([alarm])).values():
            touch(request, center.places_of(device))
        async with center.store.change() as db:
            try:
                await notices.again(db, given.id, center.told, act_of(request), center.clock.now_ms())
            except KeyError:
                raise missing from None
            found = await notices.of_alarm(db, alarm, center.told)
        center.hub.publish("notices", [alarm])
        return as_json(found)
