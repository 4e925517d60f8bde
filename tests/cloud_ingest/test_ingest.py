"""Ingest as a process, with a real broker: committed before acknowledged, whatever is killed."""

import asyncio
import contextlib
import random
from unittest.mock import ANY

import aiohttp
import aiomqtt
import pytest
from ports import free_port
from waiting import wait_until
from world import command, start, stop, write_config

from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.readings import Ack, Reading, Upload
from telemetry.transitions import HEARTBEAT, AlarmMessage

T0 = 1_764_000_000_000


@pytest.fixture
def api_port():
    return free_port()


class Agent:
    """The far end that a test plays: sends until acknowledged, and consumes the alarm feed."""

    def __init__(self, port):
        self.port, self.acked, self.alarms, self.asserted = port, set(), [], []

    async def run(self):
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client("127.0.0.1", self.port) as self.client:
                    await self.client.subscribe(
                        [(topics.ack("test", "edge-01"), 1), (topics.alarm("test", "+"), 1)]
                    )
                    async for message in self.client.messages:
                        await self._take(str(message.topic), bytes(message.payload))
            await asyncio.sleep(0.1)

    async def _take(self, topic, payload):
        if topic.endswith("/ack"):
            for first, last in codecs.decode(payload, Ack, max_bytes=10**6).ranges:
                self.acked.update(range(first, last + 1))
            return
        told = codecs.decode(payload, AlarmMessage, max_bytes=10**6)
        if told.seq == 0:
            self.asserted.append(told.transition)
            return
        self.alarms.append(told)
        await self.client.publish(
            topics.alarm_ack("test", "center"), json.encode(Ack(told.boot, ((told.seq, told.seq),))), 1
        )

    async def send(self, payload):
        await self.client.publish(topics.up("test", "edge-01"), payload, 1)


@pytest.fixture
async def agent(mosquitto):
    end = Agent(mosquitto.port)
    task = asyncio.ensure_future(end.run())
    await wait_until(lambda: hasattr(end, "client") and end.client)
    yield end
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def upload(seq, *, smoke=0.0):
    readings = (
        Reading("noise-01", T0 + seq * 1000, {"sound_level": 50.0 + seq % 7}),
        Reading("smoke-01", T0 + seq * 1000, {"smoke_alarm": smoke, "fault": 0.0}),
    )
    return json.encode(Upload("edge-01", "b", seq, T0, readings))


async def ask(http, port, path):
    async with http.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.json()


async def lives(http, port):
    with contextlib.suppress(Exception):
        return (await ask(http, port, "/api/health/ready"))[0] == 200


async def test_an_upload_becomes_history_and_a_fire_an_alarm(tmp_path, mosquitto, agent, api_port, http):
    process = await start(write_config(tmp_path, mosquitto.port, api_port))
    await wait_until(lambda: lives(http, api_port), 20)
    await agent.send(upload(1))
    await agent.send(upload(2, smoke=1.0))
    await agent.send(b"\x00garbage")
    await wait_until(lambda: agent.acked >= {1, 2} and agent.alarms, 15)
    assert agent.alarms[0].transition.rule == "smoke_detector.fire"

    def asserted(rule):
        return any(one.rule == rule for one in agent.asserted)

    await wait_until(lambda: asserted("smoke_detector.fire"), 10, "the standing alarm to be asserted again")
    await wait_until(lambda: asserted(HEARTBEAT), 10, "the heartbeat of the feed")
    assert all(one.shadow for one in agent.asserted if one.rule == HEARTBEAT), "older consumers page nobody"

    async def history():
        where = f"/api/data/history?device=noise-01&metric=sound_level&from_ms={T0}&to_ms={T0 + 10_000}"
        return (await ask(http, api_port, where))[1]["points"]

    await wait_until(history, 10, "the store to follow")
    assert await history() == [[T0 + 1000, 51.0, 0], [T0 + 2000, 52.0, 0]]
    _, latest = await ask(http, api_port, "/api/data/latest?device=smoke-01")
    assert latest[0]["values"]["smoke_alarm"] == 1.0
    _, held = await ask(http, api_port, "/api/data/quarantine")
    assert [entry["reason"] for entry in held] == ["malformed"]
    status, told = await ask(http, api_port, "/api/data/latest?device=smoke-0")
    assert (status, told["error"]) == (404, "no device 'smoke-0'; did you mean 'smoke-01'?")
    status, _ = await ask(http, api_port, "/api/data/history?device=smoke-01&metric=smoke&from_ms=0")
    assert status == 404
    _, sites = await ask(http, api_port, "/api/data/sites")
    _, devices = await ask(http, api_port, "/api/data/devices?class=ev_charger")
    assert (sites[0]["id"], [d["id"] for d in devices]) == ("s01", ["chg-01"])
    assert await stop(process) == 0


async def test_sigkill_in_the_stream_loses_and_doubles_nothing(tmp_path, mosquitto, agent, api_port, http):
    dice, config = random.Random(11), write_config(tmp_path, mosquitto.port, api_port)
    process = await start(config)
    await wait_until(lambda: lives(http, api_port), 20)
    most = 120
    fires = {30: 1.0, 60: 0.0, 90: 1.0}
    state = {"smoke": 0.0}
    payloads = {}
    for seq in range(1, most + 1):
        state["smoke"] = fires.get(seq, state["smoke"])
        payloads[seq] = upload(seq, smoke=state["smoke"])
    kills = sorted(dice.sample(range(5, most - 5), 3))
    for seq in range(1, most + 1):
        await agent.send(payloads[seq])
        if seq in kills:
            process.kill()
            await process.wait()
            process = await start(config)
    await wait_until(lambda: lives(http, api_port), 20)

    async def all_acked():
        for seq in sorted(set(payloads) - agent.acked):
            await agent.send(payloads[seq])
        await asyncio.sleep(0.3)
        return agent.acked >= set(payloads)

    await wait_until(all_acked, 30, "every upload to be acknowledged")

    async def all_stored():
        _, told = await ask(http, api_port, "/api/data/accounting")
        return told if told["store"]["waiting"] == 0 else None

    told = await wait_until(all_stored, 15, "the store to have everything")
    assert told["store"]["samples"] == 3 * most
    assert told["agents"]["edge-01"]["boots"]["b"]["ranges"] == [[1, most]]
    await wait_until(lambda: len({m.transition.id for m in agent.alarms}) >= 3, 15)
    changes = [(m.transition.change, m.transition.time) for m in {m.seq: m for m in agent.alarms}.values()]
    assert sorted(changes, key=lambda c: c[1]) == [
        ("began", T0 + 30_000),
        ("ended", T0 + 60_000),
        ("began", T0 + 90_000),
    ]
    assert await stop(process) == 0


async def test_a_broker_that_dies_is_found_again(tmp_path, mosquitto, agent, api_port, http):
    process = await start(write_config(tmp_path, mosquitto.port, api_port))
    await wait_until(lambda: lives(http, api_port), 20)
    await agent.send(upload(1))
    await wait_until(lambda: 1 in agent.acked, 10)
    await mosquitto.kill()
    await mosquitto.start()

    async def acked():
        with contextlib.suppress(aiomqtt.MqttError):
            await agent.send(upload(2))
        await asyncio.sleep(0.3)
        return 2 in agent.acked

    await wait_until(acked, 20)
    assert await stop(process) == 0


async def test_a_port_in_use_is_one_plain_sentence(tmp_path, mosquitto, api_port):
    holder = await asyncio.start_server(lambda *_: None, "127.0.0.1", api_port)
    process = await asyncio.create_subprocess_exec(
        *command(write_config(tmp_path, mosquitto.port, api_port)), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 20)
    holder.close()
    assert process.returncode == 1
    last = said.decode().strip().splitlines()[-1]
    assert last == f"cloud_ingest: cannot listen on 127.0.0.1:{api_port}: Address already in use"
    assert "Traceback" not in said.decode()


async def test_a_rule_is_tried_let_live_and_broken_while_ingest_runs(
    tmp_path, mosquitto, agent, api_port, http
):
    folder = tmp_path / "rules"
    folder.mkdir()
    config = write_config(tmp_path, mosquitto.port, api_port)
    config.write_text(config.read_text("utf-8") + f'[rules]\nfolder = "{folder}"\n', "utf-8")
    pack = (
        "rules:\n  - {id: noise_monitor.busy, title: {zh: 吵, en: Busy}, category: warning, metric: sound_level,"
        " above: {blue: 54}, source: of the district}\n"
    )
    trial, live = folder / "noise_monitor.shadow.yaml", folder / "noise_monitor.yaml"
    trial.write_text(pack, "utf-8")
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(*command(config), stdout=sink, stderr=sink)
    await wait_until(lambda: lives(http, api_port), 20)
    seq = iter(range(1, 1000))

    async def found():
        await agent.send(upload(next(seq)))
        status, told = await ask(http, api_port, "/api/data/shadow")
        return status == 200 and any(t["rule"] == "noise_monitor.busy" for t in told["told"])

    await wait_until(found, 20)
    assert agent.alarms == []
    trial.rename(live)  # it has proved itself

    async def paged():
        await agent.send(upload(next(seq)))
        await asyncio.sleep(0.2)
        return any(m.transition.rule == "noise_monitor.busy" for m in agent.alarms)

    await wait_until(paged, 20)
    live.write_text(pack.replace("sound_level", "sound_levle"), "utf-8")
    await wait_until(lambda: "packs_refused" in log.read_text("utf-8"), 20)
    agent.alarms.clear()
    await wait_until(paged, 20)  # the pack in force stays so
    assert await stop(process) == 0


async def test_a_full_disk_acknowledges_nothing_says_so_and_goes_on_when_there_is_room(
    tmp_path, disk, mosquitto, agent, api_port, http
):
    (folder := disk.path / "ingest").mkdir()
    log, url = tmp_path / "ingest.log", f"http://127.0.0.1:{api_port}/api"
    with log.open("wb") as told:
        process = await asyncio.create_subprocess_exec(
            *command(write_config(folder, mosquitto.port, api_port)), stderr=told
        )

    async def deep():
        with contextlib.suppress(aiohttp.ClientError):
            async with http.get(f"{url}/health/deep") as answer:
                return await answer.json()

    try:
        await wait_until(deep, 60, "ingest to answer")
        disk.fill()
        sent = 0
        while b"cannot_commit" not in log.read_bytes():
            sent += 1
            await agent.send(upload(sent))
            await asyncio.sleep(0.005)
        acked = set(agent.acked)
        for more in range(20):
            await agent.send(upload(sent + 1 + more))
        found = (await deep())["parts"]
        assert (found["ledger"]["status"], found["ledger"]["value"]) == ("down", 0.0)
        assert agent.acked == acked
        assert len(acked) < sent
        disk.free()
        await wait_until(lambda: agent.acked == set(range(1, sent + 21)), 60, "everything to be acknowledged")

        async def stored():
            async with http.get(f"{url}/data/accounting") as answer:
                return (await answer.json())["store"] == {
                    "samples": 3 * (sent + 20), "waiting": 0, "by_class": ANY
                }  # fmt: skip

        await wait_until(stored, 60, "the store to have everything")
        assert (await deep())["status"] == "ok"
        assert await stop(process) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    said = log.read_text()
    assert "No space left on device" in said or "database or disk is full" in said
    assert "commits_again" in said
