"""A drill in a running centre, from the command line: a broker that records everything hears of no command."""

import asyncio
import json
import os
import sys

import aiomqtt
import pytest
from aiohttp import web
from centers import Feed, start, stop, write_config
from persons import MACHINE
from test_cap import CAP, EVIL
from test_lifecycle import transition
from waiting import wait_until

from telemetry.transitions import Change

PLANS = """
plans:
  - id: charger
    title: {zh: 充电桩过热, en: A charger overheats}
    response: II
    match: {class: [ev_charger]}
    checklist: [{do: {zh: 核实, en: Check}, owner: 值班员, within_s: 60}]
    actions: [{id: cut, title: {zh: 切断, en: Cut}, metric: charging_enabled, value: 0, interlock: automatic}]
    warn: {event: {zh: 火险, en: Fire hazard}, instruction: {zh: 请远离, en: Keep away}}
"""
KNOWN = {
    "devices": [
        {"id": "d", "name": {"zh": "桩", "en": "d"}, "class": "ev_charger", "agent": "edge-1", "site": "s", "lon": 115.9, "lat": 31.8}
    ],
    "sites": [{"id": "s", "name": {"zh": "站", "en": "Site"}, "street": "东街", "district": ""}],
    "classes": {"ev_charger": {}, "led_screen": {}}, "agents": [], "latest": [],
}  # fmt: skip


@pytest.fixture
async def data(unused_tcp_port_factory):
    async def answer(request):
        return web.json_response(KNOWN[request.match_info["what"]])

    app = web.Application()
    app.router.add_get("/api/data/{what}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = unused_tcp_port_factory()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.fixture
async def recorded(mosquitto):
    heard = []

    async def record():
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            await client.subscribe("#", 1)
            heard.append(None)
            async for message in client.messages:
                heard.append((str(message.topic), bytes(message.payload)))

    task = asyncio.ensure_future(record())
    await wait_until(lambda: heard, 10, "the recorder to listen")
    yield heard
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def feed(mosquitto):
    end = Feed(mosquitto.port)
    task = asyncio.ensure_future(end.run())
    await wait_until(lambda: end.client)
    yield end
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def yemai(*words):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from yemai.cli import main; main()", *words, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "YEMAI_LANG": "en", "YEMAI_CENTER_KEY": ""},
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


def commands(heard):
    return [json.loads(payload) for topic, payload in heard[1:] if topic.endswith("/cmd")]


async def test_a_drill_from_the_command_line_reaches_no_device_and_nobody_outside(
    tmp_path, mosquitto, unused_tcp_port_factory, http, data, recorded, feed
):
    (tmp_path / "plans.yaml").write_text(PLANS, "utf-8")
    (tmp_path / "key").write_text(MACHINE, "utf-8")
    page = unused_tcp_port_factory()
    config = write_config(tmp_path, mosquitto.port, page, data)
    with config.open("a", encoding="utf-8") as file:
        file.write('linkage = { file = "plans.yaml" }\n')
    url, bearer = f"http://127.0.0.1:{page}", {"Authorization": f"Bearer {MACHINE}"}

    async def get(path, **more):
        async with http.get(url + path, headers={**bearer, **more}) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text, answer.headers  # fmt: skip

    words = ["center", "drill", "--config", str(config), "--device", "d"]
    code, _, err = await yemai(*words, "charger", "--key", str(tmp_path / "key"))
    assert (code, err.startswith(f"yemai: no centre answers at {url}: ")) == (2, True)
    process = await start(config)
    try:

        async def ready():
            status, told, _ = await get("/api/health/ready")
            return status == 200 and told["broker"] and told["data_ms"]

        await wait_until(_quiet(ready), 30, "the centre to be fed")
        code, out, err = await yemai(*words, "charger", "--key", str(tmp_path / "key"))
        assert (code, err) == (0, "")
        head, duty, action = out.splitlines()
        assert head.startswith("[DRILL] A charger overheats, response II; drill/")
        assert (duty, action) == (
            "  duty    值班员: Check",
            "  action  Cut: d charging_enabled = 0.0, not sent",
        )
        for wrong, key, sentence in [
            ("chargers", "key", "there is no plan chargers"),
            ("charger", "nothing", "nothing: the key cannot be read"),
        ]:
            code, _, err = await yemai(*words, wrong, "--key", str(tmp_path / key))
            assert code == 2
            assert sentence in err
        code, _, err = await yemai(*words, "charger")
        assert "YEMAI_CENTER_KEY: holds no key; make one: yemai center key" in err

        await feed.tell(
            1, transition(0, Change.BEGAN)
        )  # the same plan in earnest: the recorder does hear commands
        await wait_until(lambda: commands(recorded), 20, "the live command")
        [live] = commands(recorded)
        assert (live["device"], live["metric"], live["value"]) == ("d", "charging_enabled", 0.0)

        _, warnings, _ = await get("/api/warnings")
        assert [(one["status"], one["scope"]) for one in warnings] == [("Actual", "Restricted"), ("Exercise", "Restricted")]  # fmt: skip
        status, text, headers = await get("/api/warnings/feed.atom")
        assert (status, text.count("<entry>")) == (200, 2)
        assert (await get("/api/warnings/feed.atom", **{"If-None-Match": headers["ETag"]}))[0] == 304
        assert (await get("/cap/feed.atom"))[1].count("<entry>") == 0
        assert (await get(f"/cap/{warnings[0]['identifier']}.xml"))[0] == 404, (
            "restricted is not for everybody"
        )
        status, xml, headers = await get(f"/api/warnings/{warnings[0]['identifier']}.xml")
        assert (status, headers["Content-Type"], "<status>Actual" in xml) == (
            200,
            "application/cap+xml",
            True,
        )
        status, coverage, _ = await get("/api/plans/coverage")
        assert {row["class"] for row in coverage["without"]} == {"led_screen"}

        for body, wanted in [(CAP, 201), (CAP, 200), (EVIL["billion laughs"], 400), (EVIL["a file"], 400)]:
            async with http.post(f"{url}/api/warnings/in", data=body.encode(), headers=bearer) as answer:
                assert answer.status == wanted, await answer.text()
        [incident] = (await get("/api/incidents"))[1]
        whole = (await get(f"/api/incidents/{incident['id']}"))[1]
        stages = {moment["stage"] for moment in whole["timeline"]}
        assert {"alarm", "incident", "plan", "linkage", "warning"} <= stages
        assert not any("drill" in moment["kind"] for moment in whole["timeline"])
    finally:
        if process.returncode is None:
            await stop(process)


def _quiet(ask):
    async def quietly():
        try:
            return await ask()
        except Exception:  # noqa: BLE001 - it is not up yet
            return False

    return quietly
