"""The simulators' own HTTP API: start a scenario, ask for the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from telemetry.errors import Refused, did_you_mean

if TYPE_CHECKING:
    from simulators.city import City
    from simulators.scenarios import Run
    from telemetry.clock import Clock


def make_app(city: City, clock: Clock) -> web.Application:
    """Return the application: ``/status``, ``/scenarios…`` and ``/truth…``."""
    stage = city.stage

    async def status(_: web.Request) -> web.Response:
        playing = [run.scenario.name for run in stage.runs if run.plays(clock.now_ms())]
        return web.json_response({"seed": city.seed, "devices": len(city.things), "playing": playing})

    async def scenarios(_: web.Request) -> web.Response:
        return web.json_response(
            [
                {"name": s.name, "title": msgspec.to_builtins(s.title), "duration_s": s.duration_s}
                for s in stage.scenarios.values()
            ]
        )

    async def start(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        try:
            run = stage.start(name, clock.now_ms())
        except Refused as error:
            return web.json_response({"error": str(error)}, status=409 if name in stage.scenarios else 404)
        return web.json_response(_told(run, clock.now_ms()), status=202)

    async def runs(_: web.Request) -> web.Response:
        return web.json_response([_told(run, clock.now_ms()) for run in stage.runs])

    async def truth(request: web.Request) -> web.Response:
        thing = city.things.get(request.match_info["device"])
        if thing is None:
            hint = did_you_mean(request.match_info["device"], city.things)
            return web.json_response(
                {"error": f"no device '{request.match_info['device']}'; {hint}"}, status=404
            )
        since = int(request.query.get("since_ms", thing.history[-1].time if thing.history else 0))
        return web.json_response(
            [msgspec.to_builtins(served) for served in thing.history if served.time >= since]
        )

    app = web.Application()
    app.add_routes(
        [
            web.get("/status", status),
            web.get("/scenarios", scenarios),
            web.get("/scenarios/runs", runs),
            web.post("/scenarios/{name}", start),
            web.get("/truth/{device}", truth),
        ]
    )
    return app


def _told(run: Run, now_ms: int) -> dict[str, Any]:
    return {
        "name": run.scenario.name,
        "started_ms": run.started_ms,
        "done": not run.plays(now_ms),
        "expect": [
            {**msgspec.to_builtins(wanted), "changed_ms": changed}
            for wanted, changed in zip(run.scenario.expect, run.changed_ms, strict=True)
        ],
    }
