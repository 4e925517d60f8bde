"""Incidents for the fake centre: what the API would answer of one that a test has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.command_center.fake_district import Json, now_ms, text

if TYPE_CHECKING:
    from tests.command_center.fake_centre import FakeCentre


def nothing() -> tuple[list[Json], Any, dict[str, Json], list[Json]]:
    """No notices, no run, no incidents, no warnings from outside."""
    return [], None, {}, []


def incident_of(alarm: Json, **more: Any) -> Json:
    """An incident of one alarm, told in three moments."""
    began = alarm["began_ms"]
    member = {
        **alarm, "tie": "first", "why": text("本事件的第一条告警", "the first alarm of this incident"), "also": [],
    }  # fmt: skip
    moments = [
        ("alarm", "alarm.began", "告警产生：充电桩", "a charger: began"), ("incident", "incident.opened", "形成事件", "an incident"),
        ("plan", "plan.chosen", "启动预案", "plan"), ("linkage", "action.requested", "切断充电：已下令", "cut: ordered"),
        ("linkage", "action.verified", "切断充电：回读一致", "cut: read back as ordered"),
    ]  # fmt: skip
    timeline = [
        {"at_ms": began + n * 400, "stage": stage, "kind": kind, "words": text(zh, en)}
        for n, (stage, kind, zh, en) in enumerate(moments)
    ]
    return {
        "id": f"inc-{alarm['id']}", "state": "open", "opened_ms": began, "closed_ms": None, "severity": alarm["severity"],
        "level": alarm["level"], "category": alarm["category"], "response": "II", "title": alarm["title"],
        "place": [{"level": "district", "id": ""}, {"level": "street", "id": "东街"}, {"level": "site", "id": alarm["site"]}, {"level": "device", "id": alarm["device"]}],
        "alarms": 1, "open_alarms": 1, "active_alarms": 1, "plans": ["charger"], "without_plan": 0, "members": [member], "runs": [],
        "related": [], "undone": [], "timeline": timeline, "warnings": [], "cameras": [], **more,
    }  # fmt: skip


def add(router: web.UrlDispatcher, centre: FakeCentre) -> None:
    """Add the routes."""

    async def some(_: web.Request) -> web.StreamResponse:
        return web.json_response(list(centre.incidents.values()))

    async def one(request: web.Request) -> web.StreamResponse:
        return web.json_response(centre.incidents[request.match_info["id"]])

    async def outside(_: web.Request) -> web.StreamResponse:
        return web.json_response(centre.outside)

    async def deed(request: web.Request) -> web.StreamResponse:
        centre.seen.append((request.match_info["deed"], await request.json()))
        if centre.refusal is not None:
            return web.json_response({"error": centre.refusal[1]}, status=centre.refusal[0])
        found = centre.incidents[request.match_info["id"]]
        words = {
            "at_ms": now_ms(),
            "stage": "incident",
            "kind": "incident.comment",
            "words": text("赵敏 备注", "noted"),
        }
        found["timeline"] = [*found["timeline"], words]
        return web.json_response(found)

    async def warning(request: web.Request) -> web.StreamResponse:
        centre.seen.append((request.match_info["deed"], await request.json()))
        for found in centre.incidents.values():
            signed = {**found["warnings"][-1], "scope": "Public", "kind": "Update", "signed_by": "赵敏"}
            found["warnings"] = [*found["warnings"], signed]
        return web.json_response({})

    router.add_get("/api/incidents", some)
    router.add_get("/api/incidents/{id}", one)
    router.add_post("/api/incidents/{id}/{deed}", deed)
    router.add_get("/api/warnings/in", outside)
    router.add_post("/api/warnings/{id}/{deed}", warning)
