"""Ingest under what happens to it: killed at random moments, and a store that is away while everything goes on.

In the suite a few kills and seconds; ``make soak`` kills 200 times and takes the store away for ten minutes at the
rate of a whole district.
"""

import asyncio
import contextlib
import os
import random
import sqlite3
import time

import psutil
import pytest
from conftest import missing
from databases import InfluxDB
from ports import free_port
from waiting import wait_until
from world import command, stop, write_config

from simulators.load import Fleet
from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.outbox import Outbox
from telemetry.readings import Ack, Reading, Upload
from telemetry.transitions import AlarmMessage
from telemetry.window import Window

SOAK = bool(os.environ.get("SOAK"))
KILLS = 200 if SOAK else 4
AWAY_S, A_SECOND = (600, 2000) if SOAK else (6, 100)
AGAIN_S = 2.0
RSS_BYTES = 256 * 1024 * 1024
"""What a store that is away may cost: 32 MiB of frames at hand, one write's lines, and what the allocator keeps of both."""


class Agents:
    """An agent's real outbox and window on one connection, and a desk that acknowledges alarms."""

    def __init__(self, port, window=64):
        self.port, self.made, self.alarms, self.fleet = port, 0, {}, None
        self.outbox = Outbox(sqlite3.connect(":memory:", isolation_level=None), max_bytes=1 << 30)
        self.window = Window(window, AGAIN_S)

    async def __aenter__(self):
        self.fleet = await Fleet("127.0.0.1", self.port, "test", self._take).__aenter__()
        await self.fleet.subscribe(topics.ack("test", "edge-01"), topics.alarm("test", "+"))
        return self

    async def __aexit__(self, *error):
        await self.fleet.__aexit__(*error)
        self.outbox.close()

    def _take(self, topic, payload):
        if topic.endswith("/ack"):
            ack = codecs.decode(payload, Ack, max_bytes=1 << 20)
            self.outbox.acknowledge(ack.boot, ack.ranges)
            self.window.acknowledged(ack.ranges)
            return
        told = codecs.decode(payload, AlarmMessage, max_bytes=1 << 20)
        if told.seq:
            self.alarms[told.seq] = told.transition
            self.fleet.send(
                topics.alarm_ack("test", "center"), json.encode(Ack(told.boot, ((told.seq, told.seq),)))
            )

    def make(self, begin, smoke):
        """Make the next upload: one second of the devices' time after the one before."""

        def upload(seq):
            at = begin + seq * 1000
            readings = (
                Reading("noise-01", at, {"sound_level": 40.0 + seq % 29}),
                Reading("smoke-01", at, {"smoke_alarm": smoke, "fault": 0.0}),
            )
            return json.encode(Upload("edge-01", self.outbox.boot, seq, at, readings))

        self.made = self.outbox.put(upload, samples=3)

    async def send(self):
        """Send what is due; return whether nothing waits."""
        due = self.window.due(self.outbox, time.monotonic())
        await self.fleet.publish([("edge-01", message.payload) for message in due])
        return not due and not len(self.window) and not self.outbox.waiting(1)


@pytest.fixture
def api_port():
    return free_port()


async def begin_ingest(config):
    """Start ingest; what it says is in ``ingest.log`` beside its configuration."""
    with (config.parent / "ingest.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(*command(config), stderr=log)


async def accounting(http, port):
    with contextlib.suppress(Exception):
        async with http.get(f"http://127.0.0.1:{port}/api/data/accounting") as answer:
            return await answer.json()


async def stored(http, port, samples):
    told = await accounting(http, port)
    return told and told["store"]["waiting"] == 0 and told["store"]["samples"] == samples and told


@pytest.mark.soak
@pytest.mark.timeout(0 if SOAK else 240)
async def test_killed_at_random_moments_it_loses_and_doubles_nothing(tmp_path, mosquitto, api_port, http):
    dice, config = random.Random(5), write_config(tmp_path, mosquitto.port, api_port)
    begin = int(time.time() * 1000) - 40_000_000
    burning, edges, stopped = 0.0, [], asyncio.Event()
    process = await begin_ingest(config)  # so that the broker keeps for it what comes, in its order
    await wait_until(lambda: accounting(http, api_port), 120, "ingest to answer")
    assert await stop(process) == 0
    async with Agents(mosquitto.port) as agents:

        async def speak():
            nonlocal burning
            while not stopped.is_set():
                if agents.made % 50 == 49:
                    burning = 1.0 - burning
                    edges.append((begin + (agents.made + 1) * 1000, burning))
                agents.make(begin, burning)
                await agents.send()
                await asyncio.sleep(0.02)

        speaking = asyncio.ensure_future(speak())
        for _ in range(KILLS):
            process = await begin_ingest(config)
            await asyncio.sleep(
                dice.uniform(0.1, 3.0 if SOAK else 5.0)
            )  # from before it can read its ledger to in full swing
            process.kill()
            await process.wait()
        stopped.set()
        await speaking
        process = await begin_ingest(config)
        await wait_until(agents.send, 120, "every upload to be acknowledged")
        told = await wait_until(
            lambda: stored(http, api_port, agents.made * 3), 60, "the store to have everything"
        )
        await wait_until(lambda: len(agents.alarms) >= len(edges), 30, "every alarm")
        assert await stop(process) == 0
    assert told["agents"]["edge-01"]["boots"][agents.outbox.boot]["ranges"] == [[1, agents.made]]
    assert told["agents"]["edge-01"]["received"] == agents.made * 3
    assert [(t.time, float(t.change == "began")) for _, t in sorted(agents.alarms.items())] == edges
    print(
        f"{KILLS} kills, {agents.made} uploads, {len(edges)} alarms, {told['agents']['edge-01'].get('duplicated', 0)} samples came again"
    )


@pytest.mark.soak
@pytest.mark.timeout(0 if SOAK else 240)
async def test_a_store_that_is_away_at_full_load_holds_up_nothing_and_gets_everything(
    tmp_path, mosquitto, api_port, http
):
    if not InfluxDB.find():
        missing("influxd", "apt install influxdb")
    server = InfluxDB(tmp_path / "influxdb").start()
    config = write_config(tmp_path, mosquitto.port, api_port)
    store = f'store = {{ kind = "influxdb", url = "{server.url}", database = "t", timeout_s = 30 }}'
    config.write_text(config.read_text().replace('store = { path = "samples.duckdb" }', store))
    begin = int(time.time() * 1000) - 2_000_000_000
    process = await begin_ingest(config)
    me = psutil.Process(process.pid)
    try:
        async with Agents(mosquitto.port, 1000) as agents:
            await wait_until(lambda: accounting(http, api_port), 120, "ingest to answer")
            agents.make(begin, 0.0)
            await agents.send()
            await wait_until(lambda: stored(http, api_port, 3), 60, "the store to be written")
            server.kill()
            rss, until, curve = me.memory_info().rss, time.monotonic() + AWAY_S, []
            while (now := time.monotonic()) < until:
                if now > until - AWAY_S + len(curve) * AWAY_S / 10:
                    curve.append(round((me.memory_info().rss - rss) / 1e6))
                for _ in range(A_SECOND // 50):
                    agents.make(begin, float(agents.made % 1000 >= 50))
                await agents.send()
                await asyncio.sleep(max(0.0, 0.02 - (time.monotonic() - now)))
            await wait_until(agents.send, 900, "every upload to be acknowledged while the store is away")
            assert agents.alarms, "alarms wait for no store"
            grown = me.memory_info().rss - rss
            print(
                f"away for {AWAY_S} s: {agents.made} uploads, {len(agents.alarms)} alarms, {grown / 1e6:.0f} MB grown {curve}"
            )
            server.start()
            await wait_until(
                lambda: stored(http, api_port, agents.made * 3), 900, "the store to have everything"
            )
            assert grown < RSS_BYTES
            assert await stop(process) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        server.stop()
