"""The centre as a process, with a real broker and a real database."""

import asyncio
import contextlib
import os
import random
import sqlite3
import sys

import aiohttp
import msgspec
import pytest
from centers import Feed, command, start, stop, write_config
from persons import signed_in
from test_lifecycle import LIFE, T0, transition
from waiting import wait_until

from command_center import audit, exports
from telemetry import topics
from telemetry.severity import Severity
from telemetry.transitions import Change


@pytest.fixture
def page_port(unused_tcp_port_factory):
    return unused_tcp_port_factory()


@pytest.fixture
async def feed(mosquitto):
    end = Feed(mosquitto.port)
    task = asyncio.ensure_future(end.run())
    await wait_until(lambda: end.client)
    yield end
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def center(tmp_path, mosquitto, page_port, http):
    process = await start(write_config(tmp_path, mosquitto.port, page_port))
    url = f"http://127.0.0.1:{page_port}"
    await wait_until(lambda: fed(http, url), 20, "the centre to be fed")
    yield url
    if process.returncode is None:
        await stop(process)


async def ask(http, url):
    async with http.get(url) as answer:
        return answer.status, await answer.json()


async def fed(http, url):
    with contextlib.suppress(Exception):
        return (await ask(http, f"{url}/api/health/ready"))[1]["broker"]


async def post(http, url, body):
    async with http.post(url, json=body) as answer:
        return answer.status, await answer.json()


async def test_an_alarm_is_committed_then_acknowledged_then_shown(center, feed, http):
    await feed.tell(1, LIFE[0])
    await wait_until(lambda: 1 in feed.acked)
    _, (alarm,) = await ask(http, f"{center}/api/alarms")
    assert (alarm["severity"], alarm["level"], alarm["state"], alarm["value"], alarm["began_ms"]) == (
        "orange",
        "II",
        "unacknowledged",
        90.0,
        T0,
    )
    await feed.tell(2, LIFE[1])
    await wait_until(lambda: 2 in feed.acked)
    _, told = await ask(http, f"{center}/api/alarms/{alarm['id']}")
    assert told["severity"] == "red"
    assert [entry["kind"] for entry in told["history"]] == ["began", "worsened"]


async def test_an_alarm_is_acknowledged_once_by_who_is_signed_in_whatever_name_is_sent(
    center, feed, http, tmp_path
):
    await feed.tell(1, LIFE[0])
    await wait_until(lambda: 1 in feed.acked)
    url = f"{center}/api/alarms/{LIFE[0].alarm}/acknowledge"
    async with (
        signed_in(tmp_path, "wang", "王建国", "operator") as wang,
        signed_in(tmp_path, "li", "李娜", "operator") as li,
    ):
        status, told = await post(wang, url, {"comment": "已到场", "name": "somebody else"})
        assert (status, told["state"], told["acknowledged_by"], told["comment"]) == (
            200,
            "acknowledged",
            "王建国",
            "已到场",
        )
        status, told = await post(li, url, {"comment": ""})
        assert (status, told["error"]["en"]) == (409, "already acknowledged by 王建国")
        status, _ = await post(li, f"{center}/api/alarms/none/acknowledge", {})
        assert status == 404
    async with aiohttp.ClientSession() as stranger:
        status, told = await post(stranger, url, {})
        assert (status, told["error"]["zh"]) == (401, "请先登录")
    await feed.tell(2, LIFE[3])
    await wait_until(lambda: 2 in feed.acked)
    assert (await ask(http, f"{center}/api/alarms"))[1] == []


async def test_there_is_one_open_alarm_for_a_device_and_rule(center, feed, http):
    first, second = transition(0, Change.BEGAN), transition(0, Change.BEGAN, began=T0 + 60_000)
    await feed.tell(1, first)
    await feed.tell(2, second)  # the end of the first is still on its way
    await wait_until(lambda: feed.acked >= {1, 2})
    _, alarms = await ask(http, f"{center}/api/alarms?state=all")
    assert [a["id"] for a in alarms if a["state"] == "unacknowledged"] == [second.alarm]
    assert [a["ended_ms"] for a in alarms if a["id"] == first.alarm] == [T0 + 60_000]


async def test_a_page_hears_of_an_alarm_at_once(center, feed, http):
    async with http.get(f"{center}/api/stream") as stream:
        assert stream.content_type == "text/event-stream"
        await feed.tell(1, LIFE[0])
        async with asyncio.timeout(3):
            async for line in stream.content:
                if line.startswith(b"data: ") and b'"rule"' in line:
                    assert msgspec.json.decode(line[6:])["id"] == LIFE[0].alarm
                    break


@pytest.mark.usefixtures("center")
async def test_garbage_on_the_feed_is_kept_and_blocks_nobody(feed, tmp_path):
    await feed.client.publish(topics.alarm("test", "x"), b"\x00garbage", 1)
    await feed.tell(1, LIFE[0])
    await wait_until(lambda: 1 in feed.acked)
    with contextlib.closing(sqlite3.connect(tmp_path / "desk.db")) as db:
        assert db.execute("SELECT payload FROM feed_quarantine").fetchall() == [(b"\x00garbage",)]


async def test_ingest_that_is_away_does_not_take_the_alarms_with_it(center, feed, http):
    status, told = await ask(http, f"{center}/api/data/latest")
    assert (status, told["error"]["zh"]) == (502, "数据服务暂时不可用")
    await feed.tell(1, LIFE[0])
    await wait_until(lambda: 1 in feed.acked)
    _, overview = await ask(http, f"{center}/api/overview")
    assert len(overview["alarms"]) == 1


async def test_the_page_and_its_parts_are_served_safely(center, http):
    for path, kind in (
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/vendor/maplibre-gl/maplibre-gl.mjs", "text/javascript"),
    ):
        async with http.get(center + path) as answer:
            assert (answer.status, answer.content_type) == (200, kind)
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with http.get(f"{center}/../config.py") as answer:
        assert answer.status == 404


async def test_sigkill_in_the_stream_loses_and_doubles_nothing(tmp_path, mosquitto, feed, page_port, http):
    dice, config = random.Random(2), write_config(tmp_path, mosquitto.port, page_port)
    url = f"http://127.0.0.1:{page_port}"
    stream = {}
    for n in range(40):
        stream[2 * n + 1] = transition(0, Change.BEGAN, device=f"d{n % 8}", began=T0 + n * 60_000)
        stream[2 * n + 2] = transition(1, Change.ENDED, device=f"d{n % 8}", began=T0 + n * 60_000)
    process = await start(config)
    await wait_until(lambda: fed(http, url), 20)
    kills = dice.sample(range(5, 75), 3)
    for seq, one in stream.items():
        await feed.tell(seq, one)
        if seq in kills:
            process.kill()
            await process.wait()
            process = await start(config)
    await wait_until(lambda: fed(http, url), 20)

    async def all_acked():
        for seq in sorted(set(stream) - feed.acked):
            await feed.tell(seq, stream[seq])
        await asyncio.sleep(0.3)
        return feed.acked >= set(stream)

    await wait_until(all_acked, 30)
    _, alarms = await ask(http, f"{url}/api/alarms?state=all&limit=1000")
    assert len(alarms) == 40
    assert {alarm["state"] for alarm in alarms} == {"ended_unacknowledged"}
    assert await stop(process) == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "desk.db")) as db:
        assert db.execute("SELECT count(*) FROM alarm_events").fetchone()[0] == 80


async def test_a_lost_memory_is_healed_by_what_is_asserted_again(tmp_path, mosquitto, feed, page_port, http):
    config, url = write_config(tmp_path, mosquitto.port, page_port), f"http://127.0.0.1:{page_port}"
    process = await start(config)
    await wait_until(lambda: fed(http, url), 20)
    await feed.tell(1, LIFE[0])
    await wait_until(lambda: 1 in feed.acked)
    await stop(process)
    for file in tmp_path.glob("desk.db*"):
        file.unlink()
    process = await start(config)
    await wait_until(lambda: fed(http, url), 20)
    await feed.tell(0, transition(1, Change.WORSENED, Severity.RED))

    async def whole():
        return [a["severity"] for a in (await ask(http, f"{url}/api/alarms"))[1]] == ["red"]

    await wait_until(whole, 5)
    assert feed.acked == {1}, "a re-assertion is not acknowledged"
    await stop(process)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('desk = { url = "sqlite:///desk.db" }', "$.desk.url: 'sqlite:///desk.db' names no asynchronous driver; like sqlite+aiosqlite:///desk.db or postgresql+psycopg://user@host/desk"),
        ('map = { streets = "none.geojson" }', "$.map.streets: there is no file '{folder}/none.geojson'"),
        ("pag = { port = 1 }", "$.pag: unknown key; did you mean 'page'?"),
    ],
)  # fmt: skip
async def test_a_mistake_in_the_configuration_is_one_sentence(tmp_path, line, message):
    path = tmp_path / "center.toml"
    path.write_text(f'area = "test"\nbroker = {{ host = "h" }}\ndata = {{ url = "http://x" }}\n{line}\n')
    process = await asyncio.create_subprocess_exec(*command(path), stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, said.decode().strip()) == (
        2,
        f"command_center: {path}: line 4: {message.format(folder=tmp_path)}",
    )


async def yemai(*words):
    program = "from yemai.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *words, env={**os.environ, "YEMAI_LANG": "en"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), err.decode()


async def test_people_hold_sweep_and_audit_over_http_and_the_command_line_verifies(
    center, feed, http, tmp_path
):
    calm = transition(0, Change.BEGAN, Severity.YELLOW, device="y")
    for seq, one in enumerate((LIFE[0], calm, transition(0, Change.BEGAN, device="red")), 1):
        await feed.tell(seq, one)
    await wait_until(lambda: feed.acked >= {1, 2, 3})
    shelf = {"comment": "施工", "version": 1}
    status, told = await post(http, f"{center}/api/alarms/{calm.alarm}/shelve", shelf)
    assert (status, told["suppression"], told["hold"]["reason"]) == (200, "shelved", "施工")
    status, told = await post(http, f"{center}/api/alarms/{calm.alarm}/assign", {**shelf, "to": "李娜"})
    assert (status, told["error"]["zh"]) == (409, "该告警已有变化，请刷新后再操作")
    _, (hold,) = await ask(http, f"{center}/api/holds")
    assert (await post(http, f"{center}/api/holds/{hold['id']}/end", {}))[1] == []
    alarms = [{"id": a["id"], "version": a["version"]} for a in (await ask(http, f"{center}/api/alarms"))[1]]
    sweep = {"comment": "", "alarms": alarms}
    _, summary = await post(http, f"{center}/api/alarms/acknowledge", {**sweep, "dry_run": True})
    assert (summary["alarms"], summary["worst"], summary["red_left"]) == (2, "orange", 1)
    _, swept = await post(http, f"{center}/api/alarms/acknowledge", sweep)
    assert (len(swept["acknowledged"]), list(swept["left"].values())) == (2, ["red"])
    _, trail = await ask(http, f"{center}/api/audit")
    assert [entry["what"] for entry in trail] == [
        "alarm.acknowledge",
        "alarm.acknowledge",
        "hold.end",
        "alarm.shelve",
        "file.change",  # the machine's key
    ]
    assert {entry["address"] for entry in trail[:4]} == {"127.0.0.1"}
    assert (await ask(http, f"{center}/api/audit/verify"))[1]["whole"]
    _, checkpoint = await ask(http, f"{center}/api/audit/checkpoint")
    kept = tmp_path / "elsewhere.checkpoints"
    kept.write_bytes(msgspec.json.encode(checkpoint))
    words = ("center", "verify-audit", "--config", str(tmp_path / "center.toml"), "--checkpoints", str(kept))
    assert await yemai(*words) == (0, "5 entries against 1 checkpoints: whole\n", "")
    purge = ("center", "purge-audit", *words[2:4])
    assert await yemai(*purge) == (0, "0 entries deleted\n", "")
    assert await yemai(*purge, "--older-than-days", "179") == (
        2,
        "",
        "yemai: entries are kept 180 days; 179 days is too young\n",
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "desk.db")) as db, db:
        db.execute("DELETE FROM audit WHERE seq = 5")
    assert await yemai(*words) == (
        1,
        "5: a checkpoint saw 5 entries, now the last is 4: the tail was cut\n",
        "",
    )


async def test_a_report_of_deliveries_that_was_changed_or_signed_by_another_does_not_pass(
    center, feed, http, tmp_path
):
    await feed.tell(1, transition(0, Change.BEGAN, device="red"))
    await wait_until(lambda: 1 in feed.acked)
    _, checkpoint = await ask(http, f"{center}/api/audit/checkpoint")
    status, export = await ask(http, f"{center}/api/deliveries.signed?since_ms=1&until_ms=86400001")
    assert (status, export["key"], export["whole"]) == (200, checkpoint["key"], True)
    assert export["csv"].lstrip("\ufeff").startswith("alarm,person,channel")
    file, table = tmp_path / "report.json", tmp_path / "table.csv"

    async def verify(told, key=checkpoint["key"]):
        file.write_bytes(msgspec.json.encode(told))
        return await yemai("center", "verify-deliveries", str(file), "--key", key, "--csv", str(table))

    code, said, _ = await verify(export)
    assert (code, table.read_bytes()) == (0, export["csv"].encode())
    assert said.startswith("0 deliveries from 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z, made ")
    table.unlink()
    forger = audit.Signer(tmp_path / "forger.key")
    forged = msgspec.convert({**export, "rows": 1}, exports.Export)
    for changed, where in (
        ({**export, "csv": export["csv"].replace("person", "nobody")}, "$.signature: it does not hold"),
        ({**export, "until_ms": export["until_ms"] - 1}, "$.signature: it does not hold"),
        ({**export, "whole": False}, "$.signature: it does not hold"),
        ({**export, "signature": checkpoint["signature"]}, "$.signature: it does not hold"),
        (forger.sign(forged), "$.key: it names another key"),
        (
            msgspec.structs.replace(forger.sign(forged), key=export["key"]),
            "$.signature: it does not",
        ),
        ({"csv": "alarm"}, "no signed export of deliveries"),
    ):
        code, said, problem = await verify(changed)
        assert (code, said) == (2, "")
        assert where in problem
    assert not table.exists()


async def test_another_sites_page_can_change_nothing(center, feed, http):
    await feed.tell(1, LIFE[0])
    await wait_until(lambda: 1 in feed.acked)
    url = f"{center}/api/alarms/{LIFE[0].alarm}/acknowledge"
    async with http.post(url, json={}, headers={"Origin": "https://evil.example"}) as answer:
        assert answer.status == 403
    assert (await ask(http, f"{center}/api/alarms"))[1][0]["state"] == "unacknowledged"
