"""Signing in and out, enrolling, and one's own sessions."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center import audit
from command_center.answers import Missing, as_json
from command_center.openapi import answers
from command_center.people import doors, sessions, users
from command_center.people.rights import act_of, address_of, needs, person_of
from command_center.people.sessions import Caller
from command_center.shapes.people import Begun, Gone, Opened, OwnSession, SessionNow, TimeNow

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center
    from command_center.people.sessions import Session

Login = Annotated[str, Field(max_length=64)]
Typed = Annotated[str, Field(max_length=1024)]
Code = Annotated[str, Field(max_length=16)]


class Signing(BaseModel):
    """What a person types to sign in; ``code`` is the six digits of the authenticator."""

    login: Login
    password: Typed
    code: Code = ""


class Token(BaseModel):
    """What stood behind '#' in a link that is good once."""

    token: Annotated[str, Field(min_length=1, max_length=128)]


class Enrolment(Token):
    """What a person gives to enrol; ``login`` and ``name`` stand only for the first of all."""

    password: Typed
    code: Code = ""
    login: Login = ""
    name: Annotated[str, Field(max_length=64)] = ""


class NewPassword(BaseModel):
    """An old password and the one that follows it."""

    old: Typed
    new: Typed


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""
    gate, doors_, store, clock = center.gate, center.doors, center.store, center.clock

    @api.get("/api/session", summary="Who is signed in here, and what he may", dependencies=[needs("open")])
    @answers(SessionNow)
    async def get_session(request: Request) -> Response:
        person, session = await gate.known(request)
        if person is not None:
            return as_json(
                {
                    "person": {"login": person.login, "name": person.name, "roles": person.roles, "areas": person.areas},
                    "rights": sorted(person.rights),
                    "idle": session is not None and gate.is_idle(session),
                    "ends_ms": session.ends_ms if session else None,
                    "password_ends_ms": person.password_ends_ms,
                }
            )  # fmt: skip
        async with store.read() as db:
            first = await users.nobody(db)
        second = center.config.people.second_factor
        title = center.config.title
        return as_json({"person": None, "first": first, "second_factor": second, "title": title})

    @api.post("/api/session", summary="Sign in", dependencies=[needs("open")])
    @answers(Begun, also=(401,))
    async def post_session(given: Signing, request: Request) -> Response:
        signing = doors.Signing(given.login.strip(), given.password, given.code)
        _, old = await gate.known(request)
        begun = await doors_.sign_in(signing, caller_of(request))
        if old is not None:  # who signs in again leaves no second session behind
            async with store.change() as db:
                with suppress(KeyError):
                    await sessions.end(db, old.id, clock.now_ms())
        return _welcome(begun)

    @api.post(
        "/api/session/link", summary="Sign in by a link that is good once", dependencies=[needs("open")]
    )
    @answers(Begun, also=(401,))
    async def post_link(given: Token, request: Request) -> Response:
        return _welcome(await doors_.enter(given.token, caller_of(request)))

    @api.post("/api/session/seen", summary="The person is still there", dependencies=[needs("self")])
    @answers(TimeNow)
    async def post_seen() -> Response:
        return as_json({"now_ms": clock.now_ms()})

    @api.post("/api/session/end", summary="Sign out", dependencies=[needs("open")])
    @answers(Gone)
    async def post_end(request: Request) -> Response:
        person, session = await gate.known(request)
        if person is not None and session is not None:
            async with store.change() as db:
                now, act = clock.now_ms(), audit.Act(person.name, address_of(request))
                await sessions.end(db, session.id, now)
                await audit.write(db, now, act, "session.end", person.login, before={"session": session.id})
        return gate.take(as_json({"person": None}))

    @api.post("/api/enrolment/open", summary="What an enrolment link is for", dependencies=[needs("open")])
    @answers(Opened, also=(401,))
    async def post_open(given: Token) -> Response:
        return as_json(await doors_.open(given.token))

    @api.post("/api/enrolment", summary="Enrol by a link and sign in", dependencies=[needs("open")])
    @answers(Begun, also=(401,))
    async def post_enrolment(given: Enrolment, request: Request) -> Response:
        enrolment = doors.Enrolment(given.token, given.password, given.code, given.login, given.name)
        return _welcome(await doors_.enrol(enrolment, caller_of(request)))

    @api.post("/api/password", summary="Change one's own password", dependencies=[needs("self")])
    @answers(Gone)
    async def post_password(given: NewPassword, request: Request) -> Response:
        await doors_.change_password(person_of(request).login, given.old, given.new, caller_of(request))
        return gate.take(as_json({"person": None}))

    @api.get("/api/sessions", summary="One's own sessions", dependencies=[needs("self")])
    @answers(list[OwnSession])
    async def get_sessions(request: Request) -> Response:
        return await _mine(request)

    @api.post(
        "/api/sessions/{session}/end", summary="End one of one's own sessions", dependencies=[needs("self")]
    )
    @answers(list[OwnSession])
    async def post_end_other(session: str, request: Request) -> Response:
        person, now = person_of(request), clock.now_ms()
        async with store.change() as db:
            try:
                await sessions.end(db, session, now, login=person.login)
            except KeyError:
                raise Missing(f"没有会话 {session}", f"there is no session {session}") from None
            await audit.write(
                db, now, act_of(request), "session.end", person.login, before={"session": session}
            )
        return await _mine(request)

    async def _mine(request: Request) -> Response:
        person = person_of(request)
        kind: sessions.Kind = "wall" if person.roles == ("wall",) else "person"
        async with store.read() as db:
            found = await sessions.of(db, clock.now_ms(), login=person.login, kind=kind)
        return as_json([told(one) | {"here": one.id == person.session} for one in found])

    def _welcome(begun: tuple[str, Session]) -> Response:
        key, session = begun
        return gate.give(as_json({"login": session.login, "ends_ms": session.ends_ms}), key, session)


def caller_of(request: Request) -> Caller:
    """Return where a session would begin."""
    return Caller(address_of(request), request.headers.get("user-agent", ""))


def told(session: Session) -> dict[str, Any]:
    """Return what is shown of a session."""
    return msgspec.structs.asdict(session)
