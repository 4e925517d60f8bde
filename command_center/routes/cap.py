"""CAP 1.2: our warnings as documents and feeds, their signing and cancelling; warnings from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from command_center import incident_deeds
from command_center.answers import Missing, as_error, as_json
from command_center.cap import incoming, issuing
from command_center.cap.document import MIME
from command_center.cap.feed import ATOM_MIME, atom
from command_center.cap.issuing import Issued, warning_json
from command_center.cap.reading import MOST_BYTES
from command_center.openapi import answers
from command_center.people.rights import act_of, needs, touch
from command_center.people.sight import seen_by
from command_center.routes.incidents import places_of
from command_center.shapes.plans import StandingIn, Warned, WarnedOf, WarningIn
from telemetry.errors import Malformed, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from command_center.center import Center

Identifier = Annotated[str, Field(min_length=1, max_length=128)]


class By(BaseModel):
    """With which words."""

    note: Annotated[str, Field(max_length=500)] = ""


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""
    _add_reading(api, center)
    _add_incoming(api, center)
    warner = center.warner
    if warner is None:
        return

    @api.post(
        "/api/warnings/{identifier}/sign",
        summary="Make a warning public in one's own name",
        dependencies=[needs("cap.sign")],
    )
    @answers(Warned)
    async def post_sign(identifier: Identifier, request: Request) -> Response:
        act = act_of(request)
        return await _do(
            request, identifier, lambda db, _: warner.issuer.sign(db, identifier, act, center.clock.now_ms())
        )

    @api.post(
        "/api/warnings/{identifier}/cancel",
        summary="Cancel a warning: a restricted or a public one",
        dependencies=[needs("cap.sign")],
    )
    @answers(Warned)
    async def post_cancel(identifier: Identifier, by: By, request: Request) -> Response:
        act = act_of(request)
        return await _do(
            request,
            identifier,
            lambda db, about: warner.issuer.cancel(db, about, center.clock.now_ms(), act, by.note),
        )

    async def _do(request: Request, identifier: str, deed: Callable[[Any, str], Any]) -> Response:
        async with center.store.change() as db:
            try:
                about, _ = await issuing.load(db, identifier)
            except KeyError:
                raise _no(identifier) from None
            if not about.startswith("drill/"):
                touch(request, await places_of(center, db, about))
            issued = await deed(db, about)
            if issued is None:
                raise Refused("there is nothing to cancel")
            if not about.startswith("drill/"):
                await incident_deeds.load(db, about)
                await warner.journal(db, about, issued, center.clock.now_ms())
                center.incidents.tell(db, about)
        return as_json(warning_json(issued))


def _add_reading(api: FastAPI, center: Center) -> None:
    config = center.config

    @api.get("/api/warnings", summary="Our warnings, the newest first", dependencies=[needs("read")])
    @answers(list[WarnedOf])
    async def get_warnings(request: Request) -> Response:
        async with center.store.read() as db:
            rows = await issuing.latest(db, public=False, devices=seen_by(request))
        return as_json(
            [{**warning_json(msgspec.json.decode(row.body, type=Issued)), "about": row.about} for row in rows]
        )

    @api.get("/api/warnings/{identifier}.xml", summary="One message as CAP 1.2", dependencies=[needs("read")])
    @answers(media=MIME)
    async def get_document(identifier: Identifier) -> Response:
        return await _document(identifier, public=False)

    @api.get(
        "/api/warnings/feed.atom", summary="All our warnings as an Atom feed", dependencies=[needs("read")]
    )
    @answers(media=ATOM_MIME, also=(304,))
    async def get_feed(request: Request) -> Response:
        return await _feed(request, public=False)

    @api.get(
        "/cap/feed.atom",
        summary="What is public, as an Atom feed; for everybody",
        dependencies=[needs("open")],
    )
    @answers(media=ATOM_MIME, also=(304,))
    async def get_public(request: Request) -> Response:
        return await _feed(request, public=True)

    @api.get(
        "/cap/{identifier}.xml",
        summary="One public message as CAP 1.2; for everybody",
        dependencies=[needs("open")],
    )
    @answers(media=MIME)
    async def get_public_document(identifier: Identifier) -> Response:
        return await _document(identifier, public=True)

    async def _document(identifier: str, *, public: bool) -> Response:
        async with center.store.read() as db:
            rows = await issuing.latest(db, public=public, identifier=identifier)
        if not rows:
            raise _no(identifier)
        return Response(rows[0].xml, media_type=MIME)

    async def _feed(request: Request, *, public: bool) -> Response:
        async with center.store.read() as db:
            rows = await issuing.latest(db, public=public, devices=None if public else seen_by(request))
        base = (config.cap.url or str(request.base_url)).rstrip("/")
        folder = f"{base}/cap" if public else f"{base}/api/warnings"
        documents = [msgspec.json.decode(row.body, type=Issued).document for row in rows]
        content, tag = atom(
            f"{config.title.zh} · {config.title.en}", f"{folder}/feed.atom", config.cap.name.zh, documents, folder + "/{}.xml"
        )  # fmt: skip
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        asked = request.headers.get("if-none-match", "")
        if tag in {one.strip().removeprefix("W/") for one in asked.split(",")}:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=ATOM_MIME, headers=headers)


def _add_incoming(api: FastAPI, center: Center) -> None:
    @api.post(
        "/api/warnings/in",
        summary="Take a CAP message from outside; the body is its XML",
        dependencies=[needs("cap.receive")],
    )
    @answers(WarningIn, also=(201,))
    async def post_in(request: Request) -> Response:
        xml = await request.body()
        if len(xml) > MOST_BYTES:
            return as_error(
                413, "CAP 文件超过 1 MiB", f"a CAP message of {len(xml)} bytes is over {MOST_BYTES}"
            )
        try:
            async with center.store.change() as db:
                key, told, fresh = await incoming.take(db, xml, center.clock.now_ms())
        except Malformed as error:
            return as_error(400, f"不是可用的 CAP 文件：{error}", str(error))
        if fresh:
            center.hub.publish("incidents", [])
        return as_json({"id": key, "new": fresh, **msgspec.to_builtins(told)}, 201 if fresh else 200)

    @api.get("/api/warnings/in", summary="Warnings from outside that hold now", dependencies=[needs("read")])
    @answers(list[StandingIn])
    async def get_in() -> Response:
        async with center.store.read() as db:
            return as_json(await incoming.standing(db, center.clock.now_ms()))


def _no(identifier: str) -> Missing:
    return Missing(f"没有预警 {identifier}", f"there is no warning {identifier}")
