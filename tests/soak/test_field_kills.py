"""Kill and cut an agent's world at random: after each time every sample that was read is accounted for.

In the suite a few times; ``make soak`` does it 500 times.  What a kill takes before it has reached the disk was never
made: the server that is polled counts its answers, so that this too has a number.
"""

import asyncio
import contextlib
import os
import random
import socket
import sqlite3

import pytest
from agents import Cloud, start, write_config
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from waiting import wait_until

from telemetry.codecs import json as wire
from telemetry.readings import Upload

SOAK = bool(os.environ.get("SOAK"))
ROUNDS = int(os.environ.get("KILLS", "500" if SOAK else "6"))
IN_FLIGHT = 40  # answers of a kill that had not reached the disk: a fifth of a second at 20 ms, and a commit
BUS = """
[[report]]
policy = "change"
metrics = ["sound_level"]
device = "steady"
heartbeat_s = 2
[[buses]]
id = "b1"
driver = "modbus_tcp"
period_s = 0.05
link = {{ host = "127.0.0.1", port = {port} }}
[[buses.devices]]
id = "noise-01"
profile = "sonbest_sm7901b"
unit = 1
[[buses.devices]]
id = "steady"
profile = "sonbest_sm7901b"
unit = 2
"""


class Slaves:
    """Two noise meters that count what they have answered; may be switched off."""

    def __init__(self, port):
        self.port, self.answered, self._server = port, 0, None

    async def on(self):
        async def count(function_code, *_):
            self.answered += function_code in (3, 4)

        devices = [
            SimDevice(n, [SimData(0, values=536, datatype=DataType.REGISTERS)], action=count) for n in (1, 2)
        ]
        self._server = ModbusTcpServer(devices, address=("127.0.0.1", self.port))
        await self._server.serve_forever(background=True)

    async def off(self):
        await self._server.shutdown()


def books(path):
    """Return (made, dropped, not reported, {seq: samples that wait}, last seq) of the outbox of a dead agent."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        meta = dict(db.execute("SELECT key, value FROM outbox_meta").fetchall())
        waiting = dict(db.execute("SELECT seq, samples FROM outbox").fetchall())
        (last,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone() or (0,)

    def total(kind):
        return sum(value for key, value in meta.items() if key.startswith(f"{kind}:"))

    return meta.get("made", 0), total("dropped"), total("not_reported"), waiting, last


@pytest.mark.soak
@pytest.mark.timeout(0 if SOAK else 240)
async def test_after_each_of_many_kills_and_cuts_every_sample_read_is_accounted_for(tmp_path, mosquitto):
    dice = random.Random(11)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        slaves = Slaves(probe.getsockname()[1])
    await slaves.on()
    cloud = Cloud(mosquitto.port)
    receiving = asyncio.ensure_future(cloud.run())
    path, drops, unmade = tmp_path / "edge-01.db", 0, 0
    try:
        for round_ in range(ROUNDS):
            most = dice.choice([40_000, 50_000_000])  # now and then so small that it must drop
            config = write_config(tmp_path, mosquitto.port, BUS.format(port=slaves.port), max_bytes=most)
            agent = await start(config)
            await wait_until(lambda: _serves(path), 30)
            cut = dice.choice(["nothing", "broker", "slaves", "cloud", "broker and slaves"])
            if "broker" in cut:
                await mosquitto.kill()
            if "slaves" in cut:
                await slaves.off()
            cloud.acknowledges = cut != "cloud"
            made = books(path)[0]
            more = dice.randint(1, 200 if "slaves" not in cut else 40)
            await wait_until(lambda m=made + more: _made(path) >= m, 30, "readings to go on")
            if "broker" in cut:
                await mosquitto.start()
            if "slaves" in cut:
                await slaves.on()
            cloud.acknowledges = True
            agent.kill()
            await agent.wait()
            await _settled(cloud)
            made, dropped, withheld, waiting, last = books(path)
            stored = {seq: wire.decode(payload, Upload) for (_, seq), payload in cloud.uploads.items()}
            samples = sum(upload.sample_count for upload in stored.values())
            queued = sum(count for seq, count in waiting.items() if seq not in stored)
            unexplained = made - samples - queued - dropped
            # what was on its way when it was given up may have arrived: then it is stored, and told of as lost too
            assert -dropped <= unexplained <= 0, (round_, cut, made, samples, queued, dropped)
            if not dropped:
                assert unexplained == 0, (round_, cut)
                assert set(range(1, last + 1)) == set(stored) | set(waiting), (round_, cut)
            unmade = slaves.answered - _good(stored, waiting, path) - withheld if not dropped else unmade
            drops = dropped
            print(
                f"kill {round_ + 1} after {cut}: read {made + withheld} = stored {samples} + queued {queued}"
                f" + dropped {dropped} + not reported {withheld}; in flight {max(unmade, 0)}"
            )
        assert cloud.conflicts == []
        if not drops:
            assert unmade <= IN_FLIGHT * ROUNDS
    finally:
        if agent.returncode is None:
            agent.kill()
            await agent.wait()
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        await slaves.off()


def _good(stored, waiting, path):
    """Samples with a value, wherever they are."""
    uploads = dict(stored)
    with contextlib.closing(sqlite3.connect(path)) as db:
        for seq, payload in db.execute("SELECT seq, payload FROM outbox"):
            uploads.setdefault(seq, wire.decode(payload, Upload))
    del waiting
    return sum(v is not None for u in uploads.values() for r in u.readings for v in r.values.values())


async def _settled(cloud):
    """What the broker still holds for the cloud arrives."""
    count = -1
    while count != len(cloud.uploads):
        count = len(cloud.uploads)
        await asyncio.sleep(0.3)


def _serves(path):
    with contextlib.suppress(Exception):
        books(path)
        return True
    return False


def _made(path):
    with contextlib.suppress(Exception):
        return books(path)[0]
    return 0
