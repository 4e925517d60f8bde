"""A command centre with an invented district: the page's HTTP seam over generated data, steered by a test.

By hand: ``python -m tests.command_center.fake_centre --port 8090 --alarms 8 --devices 60``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tests.command_center import fake_incidents
from tests.command_center.fake_district import (
    CLASSES,
    LEVELS,
    NORMAL,
    PERSON,
    SITES,
    TITLES,
    Json,
    districts,
    now_ms,
    streets,
    text,
)

WEB = Path(__file__).parents[2] / "command_center" / "web"
CSP = "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'"


class FakeCentre:
    """Serves the page and its API on a free port from a thread of its own; a context manager."""

    def __init__(self, *, devices: int = 60, alarms: int = 0, port: int = 0, pulse_s: float = 1.0) -> None:
        self.devices = districts(devices)
        self.alarms: dict[str, Json] = {}
        self.seen: list[tuple[str, Json]] = []  # acknowledgements as they were posted
        self.refusal: tuple[int, Json] | None = None
        self.silent = self.away = False
        self.rights = PERSON["rights"]
        self.notices, self.run, self.incidents, self.outside = fake_incidents.nothing()
        self._port = port
        self._pulse_s = pulse_s
        self._streams: set[web.StreamResponse] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-centre")
        self._mute = {self.devices[8]["id"]} if devices > 8 else set()
        self._dead = {self.devices[13]["id"], self.devices[27]["id"]} if devices > 27 else set()
        severities = ["red", "orange", "orange", "yellow", "yellow", "blue", "blue", "blue"]
        for n in range(alarms):
            alarm = self.make_alarm(
                n * 7 % devices, severities[n % 8], age_s=(40, 190, 900, 75, 5400, 7300, 200, 90000)[n % 8]
            )
            if n % 4 == 2:
                alarm |= {
                    "state": "acknowledged",
                    "acknowledged_by": "王建国",
                    "acknowledged_ms": now_ms() - 60_000,
                    "comment": "已派巡检员到场查看",
                }
            if n % 8 == 3:
                alarm |= {
                    "state": "ended_unacknowledged",
                    "ended_ms": now_ms() - 20_000,
                    "condition": "returned",
                }
            if n % 8 == 6:
                hold = {"by": "李娜", "reason": "道路施工", "until_ms": now_ms() + 600_000}
                alarm |= {
                    "suppression": "shelved",
                    "hold": hold,
                    "state": "unacknowledged",
                    "acknowledged_by": None,
                    "comment": None,
                }
            self.alarms[alarm["id"]] = alarm

    # -- what a test does -------------------------------------------------

    def make_alarm(self, device: int, severity: str, *, age_s: float = 0) -> Json:
        """An alarm of the device's class, not yet told to anyone."""
        row = self.devices[device]
        metric, rule, category, title, value, limit, unit = TITLES[row["class"]]
        began = now_ms() - int(age_s * 1000)
        return {
            "id": f"{row['id']}-{severity}-{began}", "device": row["id"], "device_name": row["name"], "site": row["site"], "class": row["class"],
            "rule": rule, "metric": metric, "severity": severity, "level": LEVELS[severity], "category": category, "title": title,
            "value": value, "limit": limit, "unit": unit, "began_ms": began, "changed_ms": began, "ended_ms": None, "received_ms": began,
            "state": "unacknowledged", "isa": "unack", "acknowledged_by": None, "acknowledged_ms": None, "comment": None,
            "retrospective": False, "last_asserted_ms": began, "version": 1, "worst": severity, "condition": "active",
            "suppression": "none", "hold": None, "suppressed_by": None, "assigned_to": None, "repeats": 0, "chattering": False,
        }  # fmt: skip

    def push(self, alarm: Json) -> None:
        """Tell the page of an alarm as it now stands."""
        if alarm["state"] == "closed":
            self.alarms.pop(alarm["id"], None)
        else:
            self.alarms[alarm["id"]] = alarm
        self._call(lambda: self._tell("alarm", alarm))

    def lose(self) -> None:
        """End every stream and refuse new requests until :meth:`mend`."""
        self.away = True

        async def cut() -> None:
            for stream in list(self._streams):
                if stream._req is not None and stream._req.transport is not None:
                    stream._req.transport.abort()

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(5)

    def mend(self) -> None:
        """Answer again."""
        self.away = False
        self.silent = False

    # -- the server -------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self._port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the fake centre did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the fake centre did not stop"

    def _call(self, act: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(act)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(middlewares=[self._gate])
        app.router.add_get("/", self._index)
        app.router.add_route("*", "/api/session{rest:.*}", self._session)
        app.router.add_get("/api/overview", self._overview)
        app.router.add_get("/api/alarms", self._list)
        app.router.add_get("/api/alarms/{id}", self._record)
        app.router.add_post("/api/alarms/acknowledge", self._many)
        app.router.add_post("/api/actions/{id}/{deed}", self._act)
        app.router.add_post("/api/alarms/{id}/acknowledge", self._acknowledge)
        app.router.add_post("/api/alarms/{id}/{deed}", self._deed)
        app.router.add_get("/api/data/history", self._history)
        app.router.add_get("/api/stream", self._stream)
        fake_incidents.add(app.router, self)
        app.router.add_static("/", WEB)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        self._port = runner.addresses[0][1]
        self._ready.set()
        pulse = asyncio.create_task(self._pulse())
        await self._stop.wait()
        pulse.cancel()
        await asyncio.gather(pulse, return_exceptions=True)
        await runner.cleanup()

    @web.middleware
    async def _gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.away:
            assert request.transport is not None
            request.transport.abort()
            raise web.HTTPServiceUnavailable
        response: web.StreamResponse = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = CSP
        return response

    async def _index(self, _: web.Request) -> web.StreamResponse:
        return web.FileResponse(WEB / "index.html")

    def _reading(self, n: int) -> Json | None:
        row = self.devices[n]
        if row["id"] in self._dead:
            return None
        time_ms = now_ms()
        metrics = CLASSES[row["class"]]["metrics"]
        if row["id"] in self._mute:
            return {
                "device": row["id"],
                "time": time_ms,
                "values": dict.fromkeys(metrics),
                "quality": dict.fromkeys(metrics, 128),
            }
        values = {
            name: NORMAL[name]
            if metric["kind"] == "state"
            else round(NORMAL[name] * (1 + 0.03 * math.sin(time_ms / 9000 + n)), 2)
            for name, metric in metrics.items()
        }
        for alarm in self.alarms.values():
            if alarm["device"] == row["id"] and alarm["value"] is not None:
                values[alarm["metric"]] = alarm["value"]
        return {
            "device": row["id"],
            "time": time_ms,
            "values": values,
            "quality": {"co2": 64} if row["id"].endswith("3") and "co2" in values else {},
        }

    async def _session(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(PERSON | {"rights": self.rights})

    async def _overview(self, _: web.Request) -> web.StreamResponse:
        rows = []
        for n, row in enumerate(self.devices):
            reading = self._reading(n) or {"time": now_ms() - 780_000, "values": {}, "quality": {}}
            rows.append(
                row
                | {"last_time": reading["time"], "values": reading["values"], "quality": reading["quality"]}
            )
        return web.json_response({
            "title": text("叶集区城市安全运行指挥中心", "Yeji city safety command centre"), "now_ms": now_ms(), "map": {}, "boards": "https://grafana.example", "streets": streets(),
            "sites": [{"id": s[0], "name": text(s[1], s[2]), "street": s[3], "department": "城管局", "lon": 115.905 + s[4], "lat": 31.85 + s[5]} for s in SITES],
            "devices": rows, "agents": [{"id": f"agent-{n}", "online": n != 5, "since": now_ms() - 3_600_000} for n in range(1, 7)],
            "alarms": list(self.alarms.values()), "classes": CLASSES,
        })  # fmt: skip

    async def _list(self, _: web.Request) -> web.StreamResponse:
        past = [self.make_alarm(n * 3, "yellow", age_s=7200 * (n + 1)) for n in range(5)]
        for n, alarm in enumerate(past):
            alarm |= {
                "state": "closed",
                "ended_ms": alarm["began_ms"] + 300_000,
                "acknowledged_by": "李娜",
                "acknowledged_ms": alarm["began_ms"] + 60_000,
                "id": f"past-{n}",
            }
        return web.json_response([*self.alarms.values(), *past])

    async def _acknowledge(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        key = request.match_info["id"]
        self.seen.append((key, body))
        if self.refusal is not None:
            return web.json_response({"error": self.refusal[1]}, status=self.refusal[0])
        alarm = self.alarms[key] | {
            "state": "acknowledged",
            "acknowledged_by": "赵敏",
            "acknowledged_ms": now_ms(),
            "comment": body["comment"],
        }
        self.alarms[key] = alarm
        self._tell("alarm", alarm)
        return web.json_response(alarm)

    async def _record(self, request: web.Request) -> web.StreamResponse:
        alarm = self.alarms[request.match_info["id"]]
        began = {"change": "began", "severity": 2, "value": alarm["value"], "unit": alarm["unit"]}
        history = [
            {"id": f"{alarm['id']}-0", "at_ms": alarm["began_ms"], "kind": "began", "body": began},
            {
                "id": f"{alarm['id']}#2",
                "at_ms": now_ms() - 30_000,
                "kind": "comment",
                "body": {"name": "李娜", "text": "现场无明火"},
            },
        ]
        return web.json_response({**alarm, "history": history, "notices": self.notices, "run": self.run})

    async def _act(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.match_info["deed"], await request.json()))
        self.run["actions"][0] |= {"state": "verified", "undo": 1}
        return web.json_response({"result": "requested"})

    async def _many(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        named = [self.alarms[seen["id"]] for seen in body["alarms"]]
        if body.get("dry_run"):
            counts = {
                word: sum(a["severity"] == word for a in named) for word in ("orange", "yellow", "blue")
            }
            worst = next((word for word, count in counts.items() if count), None)
            return web.json_response(
                {"alarms": len(named), "by_severity": counts, "worst": worst, "red_left": 0, "not_waiting": 0}
            )
        self.seen.append(("many", body))
        for alarm in named:
            seen = {"state": "acknowledged", "acknowledged_by": "赵敏", "acknowledged_ms": now_ms()}
            self.alarms[alarm["id"]] = alarm | seen
            self._tell("alarm", alarm | seen)
        return web.json_response({"acknowledged": [alarm["id"] for alarm in named], "left": {}})

    async def _deed(self, request: web.Request) -> web.StreamResponse:
        body, deed = await request.json(), request.match_info["deed"]
        alarm = self.alarms[request.match_info["id"]]
        self.seen.append((deed, body))
        if self.refusal is not None:
            return web.json_response({"error": self.refusal[1]}, status=self.refusal[0])
        alarm = alarm | {"version": alarm["version"] + 1}
        if deed == "shelve":
            hold = {"by": "赵敏", "reason": body["comment"], "until_ms": body["until_ms"]}
            alarm |= {"suppression": "shelved", "hold": hold}
        elif deed == "assign":
            alarm |= {"assigned_to": body["to"]}
        self.alarms[alarm["id"]] = alarm
        self._tell("alarm", alarm)
        return web.json_response(alarm)

    async def _history(self, request: web.Request) -> web.StreamResponse:
        begin, end, step = (int(request.query[key]) for key in ("from_ms", "to_ms", "step_ms"))
        metric = request.query["metric"]
        base = NORMAL[metric]
        hot = next(
            (
                a["value"]
                for a in self.alarms.values()
                if a["device"] == request.query["device"] and a["metric"] == metric and a["value"]
            ),
            None,
        )
        points: list[list[float | None]] = []
        for t in range(begin, end, max(step, 2000)):
            if 0.35 < (t - begin) / (end - begin) < 0.42:
                continue
            wave = base * (1 + 0.03 * math.sin(t / 90_000) + 0.006 * math.sin(t / 3000)) if base > 3 else base
            near = max(0.0, 1 - (end - t) / ((end - begin) * 0.25))
            points.append([t, round(wave + ((hot - base) * near if hot else 0), 2)])
        return web.json_response(
            {"device": request.query["device"], "metric": metric, "unit": "", "points": points}
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        self._streams.add(response)
        try:
            await self._stop.wait()
        finally:
            self._streams.discard(response)
        return response

    async def _write(self, stream: web.StreamResponse, data: bytes) -> None:
        try:
            await stream.write(data)
        except ConnectionError:
            self._streams.discard(stream)

    def _tell(self, kind: str, body: object) -> None:
        data = f"event: {kind}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode()
        for stream in list(self._streams):
            self._loop.create_task(self._write(stream, data))

    async def _pulse(self) -> None:
        beat = 0
        while True:
            if not self.silent:
                batch = [
                    reading
                    for n in range(len(self.devices))
                    if n % 2 == beat % 2 and (reading := self._reading(n))
                ]
                self._tell("latest", batch[:2000])
                self._tell("health", {"feed": now_ms() - 4000, "data": now_ms() - 900, "broker": True})
            beat += 1
            await asyncio.sleep(self._pulse_s)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--alarms", type=int, default=8)
    parser.add_argument("--devices", type=int, default=60)
    asked = parser.parse_args()
    with FakeCentre(devices=asked.devices, alarms=asked.alarms, port=asked.port) as centre:
        print(centre.url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
