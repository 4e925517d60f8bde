"""The centre's HTTP API and the page."""

from __future__ import annotations

import json
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

from command_center.answers import Denied, as_error, as_json, map_errors
from command_center.guard import Guard
from command_center.hub import MOST_OF_ONE, Client, Stream
from command_center.listing import Wanted
from command_center.openapi import add_docs, answers, describe
from command_center.people import rights
from command_center.people.rights import needs, outside, person_of
from command_center.people.sight import Sight, check_routes, seen_by
from command_center.routes import (
    alarms,
    answering,
    audit,
    cap,
    contacts,
    figures,
    holds,
    incidents,
    notices,
    people,
    plans,
    receipts,
    sessions,
)
from command_center.shapes.desk import Live, Overview, Ready
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from command_center.center import Center
    from command_center.data import Data

SHOWN = Wanted(sort="worst", limit=5000)
"""What the page is given at once; how many there are is told beside it."""
WEB = Path(__file__).parent / "web"
_OF_A_DEVICE = frozenset({"history", "gaps", "latest"})
"""What ingest tells of the one device that is named in ``device``; all else is the whole district's."""


def make_api(center: Center) -> FastAPI:
    """Return the application."""
    api = FastAPI(
        title="Yemai command centre · 叶脉指挥中心",
        version="1",
        description=__doc__ or "",
        docs_url=None,
        redoc_url=None,
    )
    mimetypes.add_type("text/javascript", ".mjs")
    api.state.gate, api.state.sight = center.gate, Sight(center)
    map_errors(api)
    api.add_middleware(Guard, secure=center.gate.secure)
    for routes in (
        alarms,
        answering,
        holds,
        audit,
        receipts,
        plans,
        incidents,
        notices,
        cap,
        sessions,
        people,
        contacts,
        figures,
    ):
        routes.add(api, center)
    add_docs(api)
    _add_page(api, center)
    rights.check(api)
    check_routes(api)
    describe(api, center.gate.cookie)
    return api


def _add_page(api: FastAPI, center: Center) -> None:
    config, desk, data, hub = center.config, center.desk, center.data, center.hub
    streets = json.loads(config.map.streets.read_text("utf-8")) if config.map.streets else None

    @api.get("/api/overview", summary="All that the page shows, at once", dependencies=[needs("read")])
    @answers(Overview)
    async def get_overview(request: Request) -> Response:
        seen = seen_by(request)
        shown = msgspec.structs.replace(SHOWN, devices=seen)
        worst_first = [center.json_of(alarm) for alarm in await desk.page(shown)]
        sites, devices, agents = _within(data, seen)
        pmtiles = "/map.pmtiles" if config.map.pmtiles else None
        return as_json(
            {
                "title": config.title,
                "boards": config.page.boards.rstrip("/"),
                "now_ms": center.clock.now_ms(),
                "map": {"pmtiles": pmtiles, "attribution": config.map.attribution},
                "streets": streets,
                "sites": sites,
                "devices": [_device(device, data) for device in devices],
                "agents": agents,
                "classes": data.known["classes"],
                "alarms": worst_first,
                "open": await desk.count(seen),
                "flood": center.floods.now(),
            }
        )

    @api.get(
        "/api/stream",
        summary="What changes, as server-sent events: alarm, latest, health; ends with its session",
        dependencies=[needs("read")],
    )
    @answers(media="text/event-stream")
    async def get_stream(request: Request) -> Response:
        person, seen = person_of(request), seen_by(request)
        who = person.session or person.login
        if hub.viewers_of(who) >= MOST_OF_ONE:
            raise Denied(
                429, f"此会话已打开 {MOST_OF_ONE} 个页面，请先关闭一些",
                f"this session has {MOST_OF_ONE} pages open already; close some", reason="rate", after_s=15,
            )  # fmt: skip

        async def is_known() -> bool:
            now, _ = await center.gate.known(request)
            return now is not None and api.state.sight.devices_of(now) == seen  # else it begins anew

        return Stream(hub, center.clock, is_known, Client(who, seen))

    @api.get(
        "/api/data/{path:path}", summary="Ingest's data API, passed through", dependencies=[needs("read")]
    )
    @answers(also=(400, 404, 405, 502))
    async def get_data(path: str, request: Request) -> Response:
        query, seen = dict(request.query_params), seen_by(request)
        if seen is not None and not (path in _OF_A_DEVICE and query.get("device") in seen):
            raise outside(person_of(request))
        status, body, kind = await data.forward(path, query)
        return Response(body, status_code=status, media_type=kind)

    @api.get("/api/health/live", summary="The process runs", dependencies=[needs("open", counted=False)])
    @answers(Live)
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @api.get(
        "/api/health/ready",
        summary="The desk answers; what feeds it is told beside",
        dependencies=[needs("open", counted=False)],
    )
    @answers(Ready)
    async def ready() -> dict[str, Any]:
        await desk.count()
        if center.store.problem:
            raise Unavailable(f"desk: {center.store.problem}")
        feed = center.feed
        return {"status": "ready", "broker": feed.connected, "feed_ms": feed.heard_ms, "data_ms": data.ok_ms}

    @api.get("/map.pmtiles", include_in_schema=False, dependencies=[needs("read")])
    async def pmtiles() -> Response:
        if config.map.pmtiles is None:
            return as_error(404, "没有配置地图", "no map is configured")
        return FileResponse(config.map.pmtiles, media_type="application/octet-stream")

    api.mount("/", StaticFiles(directory=WEB, html=True))


def _within(data: Data, seen: frozenset[str] | None) -> tuple[list[Any], list[Any], list[Any]]:
    """Return sites, devices and agents of what may be seen."""
    known = data.known
    if seen is None:
        return known["sites"], known["devices"], known["agents"]
    devices = [device for device in known["devices"] if device["id"] in seen]
    sites, agents = ({device.get(what) for device in devices} for what in ("site", "agent"))
    return (
        [site for site in known["sites"] if site["id"] in sites],
        devices,
        [agent for agent in known["agents"] if agent["id"] in agents],
    )


def _device(device: dict[str, Any], data: Data) -> dict[str, Any]:
    latest = data.latest.get(device["id"])
    if latest is None:
        return {**device, "last_time": None, "values": {}, "quality": {}}
    return {**device, "last_time": latest["time"], "values": latest["values"], "quality": latest["quality"]}
