"""Edge agents as real processes, and a cloud's end that a test plays."""

import asyncio
import contextlib
import sqlite3
import sys

import aiomqtt
import msgspec
from lines import serial_bus
from waiting import wait_until

from telemetry import codecs, topics
from telemetry.codecs import json as wire
from telemetry.readings import Ack, Upload

AREA = "test"
_UP = '"event": "agent_up"'
NOWHERE = """
[[buses]]
id = "b1"
driver = "modbus_tcp"
period_s = 0.2
link = { host = "127.0.0.1", port = 1 }
[[buses.devices]]
id = "noise-01"
profile = "sonbest_sm7901b"
unit = 1
"""


def write_config(folder, broker_port, buses, *, agent="edge-01", max_bytes=50_000_000):
    """Write an edge.toml; ``buses`` is TOML."""
    path = folder / f"{agent}.toml"
    path.write_text(
        f'agent = "{agent}"\narea = "{AREA}"\n[broker]\nhost = "127.0.0.1"\nport = {broker_port}\n'
        f'[outbox]\npath = "{agent}.db"\nmax_bytes = {max_bytes}\n{buses}'
    )
    return path


async def start(config):
    """Start an agent; it writes its log beside its configuration."""
    with config.with_suffix(".log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent", "--config", str(config), stderr=log
        )


async def stop(process):
    process.terminate()
    async with asyncio.timeout(15):
        return await process.wait()


@contextlib.asynccontextmanager
async def up(config):
    """An agent from when it is up to the end of the block; a block that has not ended it itself does so in order."""
    log = config.with_suffix(".log")
    before = log.read_text().count(_UP) if log.exists() else 0
    agent = await start(config)
    try:
        await wait_until(
            lambda: log.read_text().count(_UP) > before or agent.returncode is not None, 20, "agent_up"
        )
        yield agent
        if agent.returncode is None:
            assert await stop(agent) == 0
    finally:
        if agent.returncode is None:
            agent.kill()
            await agent.wait()


def cabinet_toml(slaves, port, broker, more="", period_s=0.5):
    """Return the file of an agent with ``slaves`` on one line; ``more`` is TOML."""
    return (
        f'agent = "edge-01"\narea = "{AREA}"\nbroker = {{ host = "127.0.0.1", port = {broker} }}\n'
        'outbox = { path = "edge-01.db" }\n[[buses]]\nid = "cabinet"\ndriver = "modbus_rtu"\n'
        f'period_s = {period_s}\ntimeout_s = 0.3\nlink = {{ port = "{port}", baud = 115200 }}\n'
        + "".join(slave.toml for slave in slaves) + more
    )  # fmt: skip


def sleeping_valve(udp):
    """Return the TOML of a valve that is reached over the air."""
    return (
        '[[buses]]\nid = "air"\ndriver = "nbiot_udp"\n'
        f'link = {{ host = "127.0.0.1", port = {udp} }}\n[[buses.devices]]\nid = "valve-01"\n'
        'profile = "kingda_nb_water_meter"\nidentity = "00000805000001"\n'
    )


@contextlib.asynccontextmanager
async def cabinet(folder, slaves, broker, more="", period_s=0.5):
    """Slaves on a real line, and the file of an agent for them."""
    async with serial_bus(folder, slaves) as link:
        config = folder / "edge-01.toml"
        config.write_text(cabinet_toml(slaves, link.port, broker, more, period_s))
        yield config


def counters(folder, agent="edge-01"):
    with contextlib.closing(sqlite3.connect(folder / f"{agent}.db")) as db:
        meta = dict(db.execute("SELECT key, value FROM outbox_meta").fetchall())
        queued = db.execute("SELECT coalesce(sum(samples), 0) FROM outbox").fetchone()[0]
    dropped = sum(value for key, value in meta.items() if key.startswith("dropped:"))
    return {"made": meta.get("made", 0), "freed": meta.get("freed", 0), "queued": queued, "dropped": dropped}


def _plain(payload):
    return msgspec.json.decode(payload) if payload[:1] == b"{" else msgspec.msgpack.decode(payload)


class Cloud:
    """Receives uploads and acknowledges them, as ingest would after its commit."""

    def __init__(self, port, *, acknowledges=True):
        self.port, self.acknowledges = port, acknowledges
        self.uploads = {}  # (boot, seq) → payload
        self.conflicts = []

    async def run(self):
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(
                    "127.0.0.1", self.port, identifier="cloud", clean_session=False, timeout=2
                ) as client:
                    await client.subscribe(topics.up(AREA, "+"), 1)
                    async for message in client.messages:
                        await self._take(client, bytes(message.payload))
            await asyncio.sleep(0.1)

    async def _take(self, client, payload):
        upload = codecs.decode(payload, Upload, max_bytes=10**6)
        key = (upload.boot, upload.seq)
        if self.uploads.setdefault(key, payload) != payload:
            self.conflicts.append(key)
        if self.acknowledges:
            ack = Ack(upload.boot, ((upload.seq, upload.seq),))
            await client.publish(topics.ack(AREA, upload.agent), wire.encode(ack), 1)

    @property
    def readings(self):
        return [
            reading for payload in self.uploads.values() for reading in _plain(payload).get("readings", ())
        ]

    @property
    def samples(self):
        return sum(len(reading["values"]) for reading in self.readings)
