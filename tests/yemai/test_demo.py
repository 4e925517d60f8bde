"""The demo as a stranger meets it: it proves itself, answers mistakes in a sentence, and leaves nothing behind."""

import asyncio
import json
import os
import re
import sys

import pytest
from waiting import wait_until

from yemai.demo.broker import find_mosquitto


async def yemai(*words, lang="en", **options):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from yemai.cli import main; main()", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "YEMAI_LANG": lang}, **options,
    )  # fmt: skip


async def said(process, within_s=120):
    async with asyncio.timeout(within_s):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def port(unused_tcp_port_factory):
    return unused_tcp_port_factory()


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
async def test_the_check_closes_the_count_and_finds_the_alarms_and_no_other(
    tmp_path, port, monkeypatch, broker
):
    if broker == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed (apt install mosquitto)")
    words = ["demo", "--check", "--for", "25", "--json", "--data", str(tmp_path), "--port", str(port)]
    if broker == "embedded":
        monkeypatch.setenv("YEMAI_BROKER", "embedded")
    code, out, err = await said(await yemai(*words))
    verdict = json.loads(out)
    assert code == 0, (verdict, err)
    samples = verdict["samples"]
    assert samples["made"] == samples["stored"] + samples["queued"] + samples["quarantined"] + sum(
        samples["dropped"].values()
    )
    assert samples["made"] > 2000
    assert {alarm["scenario"] for alarm in verdict["alarms"]} == {"charger_overheats", "smoke_then_fire"}
    assert verdict["alarms_unexpected"] == []


async def test_a_running_demo_shows_what_mbpoll_reads_and_stops_cleanly(tmp_path, port, http, mbpoll):
    demo = await yemai("demo", "--data", str(tmp_path), "--port", str(port))
    await wait_until((tmp_path / "demo.json").exists, 60, "the demo to be up")
    state = json.loads((tmp_path / "demo.json").read_text())
    run = json.loads((tmp_path / "config" / "simulators.json").read_text())

    async def latest():
        async with http.get(f"{state['data_api']}/api/data/latest?device=efm-03") as answer:
            rows = await answer.json()
        return rows and rows[0]["values"].get("residual_current")

    await wait_until(latest, 20, "the first reading")
    polled, shown = set(), set()
    command = [
        mbpoll,
        "-m",
        "tcp",
        "-p",
        str(run["buses"]["e4-tcp"]["port"]),
        "-a",
        "1",
        "-0",
        "-r",
        "0",
        "-c",
        "1",
        "-1",
        "-q",
        "127.0.0.1",
    ]
    async with asyncio.timeout(40):
        while len(polled & shown) < 3:  # both watch the same register of a device whose value moves
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            out, _ = await process.communicate()
            polled.update(map(float, re.findall(r"^\[0\]:\s+(\d+)", out.decode(), re.MULTILINE)))
            shown.add(await latest())

    async def kept():  # the newest value is shown at once, the store follows
        async with http.get(
            f"{state['data_api']}/api/data/history?device=efm-03&metric=residual_current"
        ) as answer:
            return polled & shown <= {value for _, value, _ in (await answer.json())["points"]}

    await wait_until(kept, 10, "the store to have what both saw")

    second = await said(await yemai("demo", "--data", str(tmp_path), "--port", str(port + 1)))
    assert second[0] == 2
    assert (
        second[2]
        == f"yemai: a demo is already running on {tmp_path}; stop it, or choose another folder with --data\n"
    )
    code, out, err = await said(
        await yemai("demo", "scenario", "charger_overheats", "--follow", "--data", str(tmp_path), lang="zh")
    )
    assert code == 0, err
    assert "应有告警：chg-05 · ev_charger.overheat · red" in out
    story = [
        "告警产生：充电桩05 充电桩过热", "形成事件：充电桩05", "启动预案：充电桩过热处置（II 级响应", "切断充电 · 充电桩05：回读一致（0）",
        "调亮周边灯杆 · 灯杆07：回读一致（100）", "通知 李娜（sms）：已送达", "确认告警：充电桩05", "恢复正常：充电桩05", "事件关闭",
    ]  # fmt: skip
    places = [out.find(moment) for moment in story]
    assert -1 not in places, (story[places.index(-1)], out)
    code, _, err = await said(await yemai("demo", "scenario", "charger", "--data", str(tmp_path)))
    assert (code, err) == (2, "yemai: no scenario 'charger'; did you mean 'charger_overheats'?\n")

    def key():  # another one after each start
        told = json.loads((tmp_path / "demo.json").read_text())
        return {"Authorization": f"Bearer {told['key']}"}

    async def raised():
        async with http.get(f"{state['page']}/api/alarms?state=all", headers=key()) as answer:
            return [a for a in await answer.json() if a["rule"] == "ev_charger.overheat"]

    await wait_until(raised, 20, "the alarm on the desk")

    async def acted():
        [alarm] = await raised()
        async with http.get(f"{state['page']}/api/alarms/{alarm['id']}", headers=key()) as answer:
            told = await answer.json()
        done = {(a["action"], a["device"]): a["state"] for a in told["run"]["actions"]}
        proofs = {(n["channel"], n["state"]) for n in told["notices"] if "channel" in n}
        return done == dict.fromkeys(wanted, "verified") and ("wecom", "accepted") in proofs

    wanted = [("cut", "chg-05"), ("light", "lamp-01"), ("light", "lamp-07")]
    await wait_until(acted, 20, "the charger cut, two poles bright, both read back, and somebody told")
    demo.terminate()
    code, out, err = await said(demo, 40)
    assert code == 0
    assert "Traceback" not in err
    assert f"The page: http://127.0.0.1:{port}/#enter=" in out
    assert "Throw-away users: operator, dispatcher, engineer, security, auditor" in out
    errors = [
        line
        for log in (tmp_path / "logs").glob("*.log")
        for line in log.read_text(errors="replace").splitlines()
        if '"error"' in line or "Traceback" in line
    ]
    assert errors == []

    again = await yemai("demo", "--data", str(tmp_path), "--port", str(port))
    await wait_until((tmp_path / "demo.json").exists, 60, "the demo to be up again")
    assert [alarm["device"] for alarm in await raised()] == ["chg-05"], "it goes on with the same data"
    link = (await again.stdout.readline()).decode().strip().partition("#enter=")[2]
    async with http.post(f"{state['page']}/api/session/link", json={"token": link}) as answer:
        assert (answer.status, (await answer.json())["login"]) == (200, "operator")
        signed = {"Cookie": f"yemai={answer.cookies['yemai'].value}"}
    async with http.get(f"{state['page']}/api/session", headers=signed) as answer:
        assert "action.approve" in (await answer.json())["rights"], "whoever opened the link is signed in"
    async with http.post(f"{state['page']}/api/session/link", json={"token": link}) as answer:
        assert answer.status == 409, "once"
    again.terminate()
    await said(again, 40)


async def test_a_port_in_use_is_one_plain_sentence(tmp_path, port):
    holder = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
    code, _, err = await said(await yemai("demo", "--data", str(tmp_path), "--port", str(port)))
    holder.close()
    assert (code, err) == (2, f"yemai: port {port} is in use; choose another with --port\n")


async def test_a_folder_that_cannot_be_made_is_one_plain_sentence():
    code, _, err = await said(await yemai("demo", "--data", "/proc/nope"))
    assert (code, err) == (
        2,
        "yemai: cannot keep data in /proc/nope: No such file or directory; choose another folder with --data\n",
    )


async def test_a_scenario_without_a_demo_says_how_to_start_one(tmp_path):
    code, _, err = await said(await yemai("demo", "scenario", "charger_overheats", "--data", str(tmp_path)))
    assert (code, err) == (
        2,
        f"yemai: no demo is running on {tmp_path}; start one with: yemai demo --data {tmp_path}\n",
    )


@pytest.mark.parametrize("part", ["edge", "ingest", "center"])
async def test_each_part_says_which_file_it_cannot_read(part):
    code, _, err = await said(await yemai(part, "run", "--config", "/nowhere/x.toml"))
    assert code == 2
    assert err.strip().endswith("/nowhere/x.toml: cannot be read: No such file or directory")
