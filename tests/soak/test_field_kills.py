"""Kill and cut agents' worlds at random: after each time every sample that was read is accounted for, exactly.

In the suite a few times; ``make soak`` does it 500 times, in several worlds at once.  A world is an agent, its devices,
its broker and its cloud; each may fail by itself or together with others, and the outbox is often so small that it has
to give something up.  What a kill takes before it has reached the disk was never made into a sample: the devices count
their answers, so that this too has a number.
"""

import asyncio
import contextlib
import os
import random
import sqlite3

import pytest
from agents import Cloud, start, write_config
from brokers import Mosquitto
from conftest import missing
from ports import free_port
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from waiting import wait_until

from telemetry.codecs import json as wire
from telemetry.readings import Upload

SOAK = bool(os.environ.get("SOAK"))
ROUNDS = int(os.environ.get("KILLS", "500" if SOAK else "8"))
WORLDS = 5 if SOAK else 2
PER_S = 50  # answers of a world in a second
IN_FLIGHT_S = 2.0  # of a kill, on average: a third of a second to gather them, and a commit on a busy disk
CUTS = ("nothing", "start", "broker", "devices", "acks", "cloud", "cloud, then broker", "broker and devices")
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
id = "noise-02"
profile = "sonbest_sm7901b"
unit = 2
[[buses.devices]]
id = "steady"
profile = "sonbest_sm7901b"
unit = 3
"""


class Devices:
    """Three noise meters that count what they have answered; may be switched off."""

    def __init__(self, port):
        self.port, self.answered, self._server = port, 0, None

    async def on(self):
        async def count(function_code, *_):
            self.answered += function_code in (3, 4)

        meters = [
            SimDevice(n, [SimData(0, values=536, datatype=DataType.REGISTERS)], action=count)
            for n in (1, 2, 3)
        ]
        self._server = ModbusTcpServer(meters, address=("127.0.0.1", self.port))
        await self._server.serve_forever(background=True)

    async def off(self):
        await self._server.shutdown()


class World:
    """One agent and all that it needs, and the books of both ends."""

    def __init__(self, folder, seed):
        folder.mkdir()
        self.folder, self.path, self.dice = folder, folder / "edge-01.db", random.Random(seed)
        self.broker = Mosquitto(folder / "mosquitto", free_port())
        self.devices, self.cloud = Devices(free_port()), Cloud(self.broker.port)
        self.stored = {}  # seq → (samples, those with a value, those told of as lost)
        self.receiving = self.agent = None

    async def __aenter__(self):
        await self.broker.start()
        await self.devices.on()
        await self.receive(True)
        return self

    async def __aexit__(self, *_):
        await self.end()
        await self.receive(False)
        await self.devices.off()
        await self.broker.stop()

    async def receive(self, on):
        if on and self.receiving is None:
            self.receiving = asyncio.ensure_future(self.cloud.run())
        elif not on and self.receiving is not None:
            while (
                not self.receiving.done()
            ):  # a client that cannot hang up turns a cancellation into its own error
                self.receiving.cancel()
                await asyncio.wait({self.receiving}, timeout=1)
            self.receiving = None

    async def end(self):
        if self.agent is not None and self.agent.returncode is None:
            self.agent.kill()
            await self.agent.wait()

    async def suffer(self, cut):
        """Let an agent run, cut something off, and kill it at some moment of that."""
        dice = self.dice
        most = dice.choice([5_000, 12_000, 50_000_000])
        config = write_config(
            self.folder, self.broker.port, BUS.format(port=self.devices.port), max_bytes=most
        )
        self.agent = await start(config)
        if cut == "start":
            await asyncio.sleep(dice.uniform(0, 1.5))  # the moment is what is drawn by lot
            return await self.end()
        made = self.made()
        await wait_until(lambda: self.made() > made, 60, "readings to be kept")
        if "cloud" in cut:
            await self.receive(False)
        self.cloud.acknowledges = cut != "acks"
        if cut.startswith("broker"):
            await self.broker.kill()
        if "devices" in cut:
            await self.devices.off()
        made, more = self.made(), dice.randint(1, 200)
        await wait_until(lambda: self.made() >= made + more, 60, "readings to go on")
        if cut.endswith("then broker"):
            await self.broker.kill()
        await self.end()
        if "broker" in cut:
            await self.broker.start()
        if "devices" in cut:
            await self.devices.on()
        self.cloud.acknowledges = True
        await self.receive(True)
        return None

    def made(self):
        with contextlib.suppress(sqlite3.Error):
            return self.books()[0].get("made", 0)
        return 0

    def books(self):
        """Return the counters of the outbox, and its messages as seq → (samples, payload)."""
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            meta = dict(db.execute("SELECT key, value FROM outbox_meta").fetchall())
            waiting = db.execute("SELECT seq, samples, payload FROM outbox").fetchall()
        return meta, {seq: (samples, payload) for seq, samples, payload in waiting}

    async def settled(self):
        """What the broker still holds for the cloud arrives."""
        count = -1
        while count != len(self.cloud.uploads):
            count = len(self.cloud.uploads)
            await asyncio.sleep(0.2)
        for (_, seq), payload in self.cloud.uploads.items():
            if seq not in self.stored:
                self.stored[seq] = _content(payload)

    def check(self, kills, cut):
        """Assert that the books close, and return a line that says how."""
        meta, waiting = self.books()
        made, dropped, withheld = (_total(meta, kind) for kind in ("made", "dropped:", "not_reported:"))
        queued = {seq: _content(payload) for seq, (_, payload) in waiting.items() if seq not in self.stored}
        assert all(waiting[seq][0] == samples for seq, (samples, _, _) in queued.items())
        there = [*self.stored.values(), *queued.values()]
        stored, waits = sum(s for s, _, _ in self.stored.values()), sum(s for s, _, _ in queued.values())
        line = f"read {made + withheld} = stored {stored} + queued {waits} + dropped {dropped} + not reported {withheld}"
        assert made == stored + waits + dropped, (cut, line)
        assert sum(lost for _, _, lost in there) == dropped, (cut, line, "and all of it is told of")
        good = sum(values for _, values, _ in there)
        assert good <= self.devices.answered, (cut, line, "nothing is told that no device has said")
        unmade = self.devices.answered - good - withheld - dropped
        assert unmade <= IN_FLIGHT_S * PER_S * kills, (cut, line, unmade)
        assert self.cloud.conflicts == []
        return line


def _content(payload):
    upload = wire.decode(payload, Upload)
    values = sum(value is not None for reading in upload.readings for value in reading.values.values())
    return upload.sample_count, values, sum(gap.samples for gap in upload.gaps)


def _total(meta, kind):
    return sum(value for key, value in meta.items() if key.startswith(kind))


async def _play(folder, seed, rounds):
    async with World(folder, seed) as world:
        cuts = [*CUTS] * (rounds // len(CUTS) + 1)
        world.dice.shuffle(cuts)
        for kill, cut in enumerate(cuts[:rounds], 1):
            await world.suffer(cut)
            await world.settled()
            line = world.check(kill, cut)
            print(f"world {seed}, kill {kill} after {cut}: {line}", flush=True)
        return _total(world.books()[0], "dropped:")


@pytest.mark.soak
@pytest.mark.timeout(0 if SOAK else 240)
async def test_after_each_of_many_kills_and_cuts_every_sample_read_is_accounted_for(tmp_path):
    if not Mosquitto.find():
        missing("mosquitto", "apt install mosquitto")
    async with asyncio.TaskGroup() as worlds:
        played = [
            worlds.create_task(_play(tmp_path / f"world-{n}", n, ROUNDS // WORLDS)) for n in range(WORLDS)
        ]
    if SOAK:
        assert sum(world.result() for world in played) > 0, "much had to be given up"
