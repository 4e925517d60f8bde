"""How people are reached, and what proves it: one's own contacts, and everybody's for a security admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center.answers import Missing, as_json
from command_center.openapi import answers
from command_center.people import contacts
from command_center.people.rights import act_of, needs, person_of
from command_center.shapes.people import Contacts
from telemetry.errors import Refused

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center
    from command_center.policies import Told
    from command_center.teller import Teller


class Code(BaseModel):
    """The six digits that came by the channel."""

    code: Annotated[str, Field(max_length=16)]


class Word(BaseModel):
    """Why an admin vouches for it, such as a call that was answered."""

    reason: Annotated[str, Field(min_length=1, max_length=200)]


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""
    _add_own(api, center)
    _add_all(api, center)


def _add_all(api: FastAPI, center: Center) -> None:
    admin = [needs("people.admin")]

    @api.get("/api/contacts", summary="How everybody is reached", dependencies=admin)
    @answers(Contacts)
    async def get_contacts() -> Response:
        return await _listed(center, None)

    @api.post("/api/contacts/{person}/{channel}/code", summary="Send a code there", dependencies=admin)
    @answers(Contacts)
    async def post_code(person: str, channel: str, request: Request) -> Response:
        return await _send(center, person, channel, request, None)

    @api.post(
        "/api/contacts/{person}/{channel}/verify", summary="Enter the code that came", dependencies=admin
    )
    @answers(Contacts)
    async def post_verify(person: str, channel: str, given: Code, request: Request) -> Response:
        return await _enter(center, person, channel, given.code, request, None)

    @api.post(
        "/api/contacts/{person}/{channel}/vouch",
        summary="Vouch that messages come through, with a reason",
        dependencies=admin,
    )
    @answers(Contacts)
    async def post_vouch(person: str, channel: str, given: Word, request: Request) -> Response:
        told, _ = _telling(center)
        async with center.store.change() as db:
            now = center.clock.now_ms()
            await contacts.vouch(db, told, person, channel, given.reason, act_of(request), now)
        return await _listed(center, None)


def _add_own(api: FastAPI, center: Center) -> None:
    own = [needs("self")]

    @api.get("/api/session/contacts", summary="How one is reached oneself", dependencies=own)
    @answers(Contacts)
    async def get_own(request: Request) -> Response:
        return await _listed(center, person_of(request).name)

    @api.post("/api/session/contacts/{channel}/code", summary="Have a code sent", dependencies=own)
    @answers(Contacts)
    async def post_own_code(channel: str, request: Request) -> Response:
        name = person_of(request).name
        return await _send(center, _known_as(center, name), channel, request, name)

    @api.post("/api/session/contacts/{channel}/verify", summary="Enter the code that came", dependencies=own)
    @answers(Contacts)
    async def post_own_verify(channel: str, given: Code, request: Request) -> Response:
        name = person_of(request).name
        return await _enter(center, _known_as(center, name), channel, given.code, request, name)


def _telling(center: Center) -> tuple[Told, Teller]:
    if center.told is None or center.teller is None:
        raise Refused("nobody is told here: notify.file is not set")
    return center.told, center.teller


def _known_as(center: Center, name: str) -> str:
    """Return the key in ``notify.yaml`` of who signs in under a name."""
    people = center.told.setup.people if center.told else {}
    for who, person in people.items():
        if person.name.zh == name:
            return who
    raise Missing(f"notify.yaml 中没有 {name}", f"notify.yaml has nobody whose name.zh is '{name}'")


async def _send(center: Center, person: str, channel: str, request: Request, only: str | None) -> Response:
    told, teller = _telling(center)
    async with center.store.change() as db:
        now = center.clock.now_ms()
        code, address = await contacts.begin(db, told, person, channel, act_of(request), now)
    receipt = await teller.prove(person, channel, address, code)
    if receipt.outcome.startswith("failed"):
        raise Refused(f"'{channel}' did not take it: {receipt.code} {receipt.reason}".rstrip())
    return await _listed(center, only, sent=receipt.outcome)


async def _enter(
    center: Center, person: str, channel: str, code: str, request: Request, only: str | None
) -> Response:
    told, _ = _telling(center)
    async with center.store.change() as db:
        is_right = await contacts.enter(
            db, told, person, channel, code, act_of(request), center.clock.now_ms()
        )
    if not is_right:
        raise Refused("code: not the one that was sent")
    return await _listed(center, only)


async def _listed(center: Center, only: str | None, **more: str) -> Response:
    if center.told is None:
        return as_json({"contacts": [], **more})
    async with center.store.read() as db:
        found = await contacts.everyone(db, center.told)
    return as_json({"contacts": [one for one in found if only in {None, one.name.zh}], **more})
