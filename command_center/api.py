"""The centre's HTTP API and the page."""

from __future__ import annotations

import json
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from command_center.desk import STALE_ASSERTION_MS
from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from command_center.config import CenterConfig
    from command_center.data import Data
    from command_center.desk import Desk
    from command_center.feed import Feed
    from command_center.hub import Hub
    from command_center.lifecycle import Alarm
    from telemetry.clock import Clock

WEB = Path(__file__).parent / "web"
_CSP = (
    "default-src 'self'; img-src 'self' data: blob:; worker-src 'self' blob:; style-src 'self' 'unsafe-inline';"
    " object-src 'none'; base-uri 'none'; frame-ancestors 'self'"
)


class Acknowledgement(BaseModel):
    """Who has seen the alarm, and what that person says of it."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    comment: Annotated[str, Field(max_length=500)] = ""


def make_api(config: CenterConfig, desk: Desk, data: Data, feed: Feed, hub: Hub, clock: Clock) -> FastAPI:
    """Return the application."""
    api = FastAPI(title="Yemai command centre · 叶脉指挥中心", version="1", description=__doc__ or "")
    mimetypes.add_type("text/javascript", ".mjs")
    streets = json.loads(config.map.streets.read_text("utf-8")) if config.map.streets else None

    @api.middleware("http")
    async def headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await call_next(request)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        if not request.url.path.startswith("/docs"):
            answer.headers["Content-Security-Policy"] = _CSP
        vendored = request.url.path.startswith("/vendor/")
        answer.headers.setdefault("Cache-Control", "max-age=86400" if vendored else "no-store")
        return answer

    @api.exception_handler(Unavailable)
    async def unavailable(_: Request, error: Exception) -> Response:
        return _error(502, "数据服务暂时不可用", f"the data service is away: {error}")

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> Response:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        field = ".".join(str(part) for part in first.get("loc", ())[1:]) or "?"
        return _error(422, f"“{field}”填写有误", f"'{field}': {first.get('msg', 'invalid')}")

    def told(alarm: Alarm) -> dict[str, Any]:
        return alarm_json(alarm, desk, data, clock.now_ms())

    @api.get("/api/alarms", summary="Alarms, newest first")
    async def get_alarms(
        state: Literal["open", "all"] = "open", limit: Annotated[int, Query(ge=1, le=5000)] = 500
    ) -> Response:
        return _json([told(alarm) for alarm in await desk.alarms(only_open=state == "open", limit=limit)])

    @api.get("/api/alarms/{alarm}", summary="One alarm with its journal")
    async def get_alarm(alarm: str) -> Response:
        found = await desk.alarm(alarm)
        if found is None:
            return _error(404, f"没有告警 {alarm}", f"there is no alarm {alarm}")
        return _json({**told(found[0]), "history": found[1]})

    @api.post("/api/alarms/{alarm}/acknowledge", summary="Say that somebody has seen it")
    async def post_acknowledge(alarm: str, by: Acknowledgement) -> Response:
        name = by.name.strip()
        if not name:
            return _error(422, "请填写姓名", "a name is needed")
        try:
            after = await desk.acknowledge(alarm, name, by.comment.strip())
        except KeyError:
            return _error(404, f"没有告警 {alarm}", f"there is no alarm {alarm}")
        except Refused as error:
            return _error(409, "该告警已被他人确认", str(error))
        hub.publish("alarm", told(after))
        return _json(told(after))

    @api.get("/api/overview", summary="All that the page shows, at once")
    async def get_overview() -> Response:
        alarms = [told(alarm) for alarm in await desk.alarms(only_open=True, limit=5000)]
        pmtiles = "/map.pmtiles" if config.map.pmtiles else None
        return _json(
            {
                "title": config.title,
                "now_ms": clock.now_ms(),
                "map": {"pmtiles": pmtiles, "attribution": config.map.attribution},
                "streets": streets,
                "sites": data.known["sites"],
                "devices": [_device(device, data) for device in data.known["devices"]],
                "agents": data.known["agents"],
                "classes": data.known["classes"],
                "alarms": alarms,
            }
        )

    @api.get("/api/stream", summary="What changes, as server-sent events: alarm, latest, health")
    async def get_stream() -> Response:
        async def events() -> AsyncIterator[bytes]:
            with hub.client() as client:
                yield b": hello\n\n"
                while (event := await client.next()) is not None:
                    yield event

        return StreamingResponse(
            events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    @api.get("/api/data/{path:path}", summary="Ingest's data API, passed through")
    async def get_data(path: str, request: Request) -> Response:
        status, body, kind = await data.forward(path, dict(request.query_params))
        return Response(body, status_code=status, media_type=kind)

    @api.get("/api/health/live", summary="The process runs")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @api.get("/api/health/ready", summary="The desk answers; what feeds it is told beside")
    async def ready() -> dict[str, Any]:
        await desk.alarms(only_open=True, limit=1)
        return {"status": "ready", "broker": feed.connected, "feed_ms": feed.heard_ms, "data_ms": data.ok_ms}

    @api.get("/map.pmtiles", include_in_schema=False)
    async def pmtiles() -> Response:
        if config.map.pmtiles is None:
            return _error(404, "没有配置地图", "no map is configured")
        return FileResponse(config.map.pmtiles, media_type="application/octet-stream")

    api.mount("/", StaticFiles(directory=WEB, html=True))
    return api


def alarm_json(alarm: Alarm, desk: Desk, data: Data, now_ms: int) -> dict[str, Any]:
    """Return an alarm as the page and other readers see it."""
    device: dict[str, Any] = next((d for d in data.known["devices"] if d["id"] == alarm.device), {})
    asserted = desk.asserted_ms(alarm)
    severity = (
        alarm.severity if alarm.active else alarm.worst
    )  # what is over asks for attention by how bad it was
    return {
        "id": alarm.id,
        "device": alarm.device,
        "device_name": device.get("name", {"zh": alarm.device, "en": alarm.device}),
        "site": device.get("site"),
        "class": alarm.device_class,
        "rule": alarm.rule,
        "metric": alarm.metric,
        "severity": severity.label.en,
        "level": severity.level,
        "worst": alarm.worst.label.en,
        "category": alarm.category,
        "title": alarm.title,
        "value": alarm.value,
        "limit": alarm.limit,
        "unit": alarm.unit,
        "began_ms": alarm.began_ms,
        "changed_ms": alarm.changed_ms,
        "ended_ms": alarm.ended_ms,
        "received_ms": alarm.received_ms,
        "state": alarm.state,
        "isa": alarm.isa,
        "acknowledged_by": alarm.acknowledged_by,
        "acknowledged_ms": alarm.acknowledged_ms,
        "comment": alarm.comment,
        "retrospective": alarm.retrospective,
        "last_asserted_ms": asserted,
        "stale_assertion": alarm.active and now_ms - asserted > STALE_ASSERTION_MS,
    }


def _device(device: dict[str, Any], data: Data) -> dict[str, Any]:
    latest = data.latest.get(device["id"])
    if latest is None:
        return {**device, "last_time": None, "values": {}, "quality": {}}
    return {**device, "last_time": latest["time"], "values": latest["values"], "quality": latest["quality"]}


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def _error(status: int, zh: str, en: str) -> Response:
    return Response(
        msgspec.json.encode({"error": {"zh": zh, "en": en}}), status, media_type="application/json"
    )
