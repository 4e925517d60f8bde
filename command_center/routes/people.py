"""What a security admin does: people, their roles and areas, their links and sessions, and the screens on walls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center import audit
from command_center.answers import Missing, as_json
from command_center.openapi import answers
from command_center.people import links, sessions, users
from command_center.people.rights import ROLES, Role, act_of, needs, person_of
from command_center.people.users import User
from command_center.routes.sessions import told
from command_center.shapes.people import Everybody

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center

Areas = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=200)]


class Rights(BaseModel):
    """Roles, and the streets or sites they hold for; without any the whole district."""

    roles: list[Role]
    areas: Areas = []


class NewPerson(Rights):
    """Somebody to be enrolled.  ``name`` is how everybody sees him; no two have the same, and it stays."""

    login: Annotated[str, Field(max_length=32)]
    name: Annotated[str, Field(max_length=64)]


class Wall(BaseModel):
    """A screen that everybody may look at; ``name`` says where it hangs."""

    name: Annotated[str, Field(min_length=1, max_length=48, pattern=r"^[^\x00-\x1f:]+$")]


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""
    _add_access(api, center)
    store, clock, page = center.store, center.clock, center.config.page.address
    admin = [needs("people.admin")]

    @api.get("/api/people", summary="Everybody, and every wall", dependencies=admin)
    @answers(Everybody)
    async def get_people() -> Response:
        return await _everybody(center)

    @api.post("/api/people", summary="Add a person; answers with the link to enrol by", dependencies=admin)
    @answers(Everybody)
    async def post_person(given: NewPerson, request: Request) -> Response:
        user = User(given.login.strip(), given.name.strip(), tuple(given.roles), tuple(given.areas))
        now = clock.now_ms()
        async with store.change() as db:
            await users.add(db, user, act_of(request), now)
            token = await links.issue(db, "enrol", user.login, now)
        return await _everybody(center, link=links.address(page, "enrol", token))

    @api.post("/api/people/{login}/rights", summary="Change roles and areas", dependencies=admin)
    @answers(Everybody)
    async def post_rights(login: str, given: Rights, request: Request) -> Response:
        return await _change(
            login, request, "person.rights", roles=tuple(given.roles), areas=tuple(given.areas)
        )

    @api.post("/api/people/{login}/disable", summary="Let somebody in no more", dependencies=admin)
    @answers(Everybody)
    async def post_disable(login: str, request: Request) -> Response:
        return await _change(login, request, "person.disable", active=False)

    @api.post("/api/people/{login}/enable", summary="Let somebody in again", dependencies=admin)
    @answers(Everybody)
    async def post_enable(login: str, request: Request) -> Response:
        return await _change(login, request, "person.enable", active=True)

    async def _change(login: str, request: Request, what: str, **fields: Any) -> Response:
        async with store.change() as db:
            try:
                await users.change(
                    db, login, act_of(request), clock.now_ms(), what, by=person_of(request).login, **fields
                )
            except KeyError:
                raise _no(login) from None
        return await _everybody(center)


def _add_access(api: FastAPI, center: Center) -> None:
    store, clock, page = center.store, center.clock, center.config.page.address
    admin = [needs("people.admin")]

    @api.post(
        "/api/people/{login}/link",
        summary="Reset somebody: password, second factor and sessions are void, a new link enrols",
        dependencies=admin,
    )
    @answers(Everybody)
    async def post_link(login: str, request: Request) -> Response:
        now = clock.now_ms()
        async with store.change() as db:
            try:
                token = await links.reset(db, login, act_of(request), now)
            except KeyError:
                raise _no(login) from None
        return await _everybody(center, link=links.address(page, "enrol", token))

    @api.post("/api/people/{login}/end", summary="End all sessions of somebody", dependencies=admin)
    @answers(Everybody)
    async def post_end(login: str, request: Request) -> Response:
        now = clock.now_ms()
        async with store.change() as db:
            if await users.find(db, login) is None:
                raise _no(login)
            await sessions.end_all(db, login, now)
            await audit.write(db, now, act_of(request), "session.end_all", login)
        return await _everybody(center)

    @api.post(
        "/api/walls", summary="Add a screen on a wall; answers with its link, good once", dependencies=admin
    )
    @answers(Everybody)
    async def post_wall(given: Wall, request: Request) -> Response:
        now, login = clock.now_ms(), f"wall:{given.name.strip()}"
        async with store.change() as db:
            token = await links.issue(db, "wall", login, now)
            await audit.write(db, now, act_of(request), "wall.add", login)
        return await _everybody(center, link=links.address(page, "wall", token))

    @api.post("/api/walls/{session}/end", summary="Turn a screen on a wall away", dependencies=admin)
    @answers(Everybody)
    async def post_wall_end(session: str, request: Request) -> Response:
        now = clock.now_ms()
        async with store.change() as db:
            standing = {one.id: one for one in await sessions.of(db, now, kind="wall")}
            if session not in standing:
                raise Missing(f"没有大屏 {session}", f"there is no wall {session}")
            await sessions.end(db, session, now)
            await audit.write(db, now, act_of(request), "wall.end", standing[session].login)
        return await _everybody(center)


def _no(login: str) -> Missing:
    return Missing(f"没有用户 {login}", f"there is no person '{login}'")


async def _everybody(center: Center, **more: str) -> Response:
    async with center.store.read() as db:
        now = center.clock.now_ms()
        people = [user.told() for user in await users.everyone(db)]
        open_ = [told(one) for one in await sessions.of(db, now)]
        walls = [told(one) for one in await sessions.of(db, now, kind="wall")]
    roles = {role: sorted(rights) for role, rights in ROLES.items() if role != "wall"}
    places = sorted(
        {place for one in center.data.known["sites"] for place in (one["id"], one.get("street")) if place}
    )
    return as_json(
        {"people": people, "sessions": open_, "walls": walls, "roles": roles, "places": places, **more}
    )
