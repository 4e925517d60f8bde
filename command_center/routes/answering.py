"""Acknowledging by the link of a message.  Opening it looks; only pressing the button on its page does something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from fastapi import Request
from fastapi.responses import Response

from command_center import audit
from command_center.answers import Denied, Missing, as_json
from command_center.audit import Act
from command_center.deeds import Deed
from command_center.openapi import answers
from command_center.people import answering
from command_center.people.rights import address_of, needs
from command_center.routes.sessions import Token
from command_center.shapes import Colour
from command_center.shapes.desk import Answering
from command_center.tables import alarms
from telemetry.errors import Refused
from telemetry.severity import Severity

if TYPE_CHECKING:
    from fastapi import FastAPI
    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.center import Center
    from command_center.people.answering import Link


class Pressed(Token):
    """The link, and the colour in which its person saw the alarm."""

    seen: Colour | None = None


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""

    @api.post(
        "/api/answers/open",
        summary="What the link of a message is about",
        dependencies=[needs("open", counted=False)],
    )
    @answers(Answering, also=(403, 404, 429))
    async def post_open(given: Token, request: Request) -> Response:
        return await _shown(center, await _found(center, given.token, request), request)

    @api.post(
        "/api/answers",
        summary="Acknowledge by the link of a message, as the person it was sent to",
        dependencies=[needs("open", counted=False)],
    )
    @answers(Answering, also=(403, 404, 429))
    async def post_answer(given: Pressed, request: Request) -> Response:
        now = center.clock.now_ms()
        link = await _found(center, given.token, request)
        act = Act(_name(center, link), address_of(request))
        try:
            await _allowed(center, link, request)
        except Denied as denied:
            if denied.status != 403:
                raise  # nobody can tell yet
            async with center.store.change() as db:
                await audit.write(db, now, act, "alarm.acknowledge", link.alarm, result="refused")
            raise

        async def use(db: AsyncConnection) -> None:
            await answering.use(db, given.token, now)
            severity = await db.scalar(sa.select(alarms.c.severity).where(alarms.c.id == link.alarm))
            if given.seen and (severity or 0) > Severity.parse(given.seen):
                raise Refused("it has turned worse since: look at it again")

        deed = Deed("acknowledge", f"链接确认 · {link.channel}")
        try:
            changed = await center.desk.do(link.alarm, deed, act, first=use)
        except KeyError:
            raise Missing("没有这条告警", "there is no such alarm") from None
        center.publish(changed)
        return await _shown(center, link, request)


async def _found(center: Center, token: str, request: Request) -> Link:
    """Return the link.  Only guesses are counted: whoever has a link answers, whatever else his address asks."""
    try:
        async with center.store.read() as db:
            return await answering.find(db, token, center.clock.now_ms())
    except Refused:
        center.gate.count_unknown(request)
        raise


def _name(center: Center, link: Link) -> str:
    people = center.told.setup.people if center.told else {}
    return people[link.person].name.zh if link.person in people else link.person


async def _allowed(center: Center, link: Link, request: Request) -> None:
    """Raise :class:`Denied` unless the person may acknowledge this alarm now; 503 while nobody can tell where it lies."""
    name = _name(center, link)
    async with center.store.read() as db:
        person = await answering.who(db, name)
    if person is None:
        raise Denied(403, f"{name} 没有确认告警的权限", f"{name} has not the right '{answering.RIGHT}'")
    seen = request.app.state.sight.devices_of(person)
    if seen is not None and (await center.desk.devices_of([link.alarm])).get(link.alarm) not in seen:
        raise Denied(403, "该对象不在您的管辖范围内", f"it lies outside the areas of {name}")


async def _shown(center: Center, link: Link, request: Request) -> Response:
    await _allowed(center, link, request)
    found = await center.desk.alarm(link.alarm)
    if found is None:
        raise Missing("没有这条告警", "there is no such alarm")
    told = center.json_of(found[0])
    names = ("device_name", "severity", "title", "value", "unit", "began_ms", "state", "acknowledged_by")
    return as_json({"name": _name(center, link), **{key: told[key] for key in names}})
