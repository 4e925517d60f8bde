"""What happens to boxes on poles: long outages, full disks, torn files, clocks that are set."""

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest
from agents import NOWHERE, Cloud, counters, start, stop, write_config
from lines import running
from waiting import wait_until

from edge_agent import app
from edge_agent.budget import Budget
from edge_agent.buffer import Buffer
from edge_agent.config import load_config
from edge_agent.gather import GapMessage, Gatherer, Shape
from edge_agent.report import Reporter, ReportRule
from edge_agent.stamps import SANE_MS, Step, sane, watch_clock
from edge_agent.status import Board
from edge_agent.uplink import Uplink
from telemetry.clock import TimeMs
from telemetry.codecs import json as wire
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox
from telemetry.quality import Quality
from telemetry.readings import AgentStatus, Reading, Upload
from telemetry.testing import ManualClock

T0 = 1_764_000_000_000


class LeapingClock:
    """The machine's clock, which a test may send days ahead in no time."""

    def __init__(self):
        self.ahead_s = 0.0

    def now_ms(self):
        return TimeMs(int((time.time() + self.ahead_s) * 1000))

    def monotonic(self):
        return time.monotonic() + self.ahead_s

    async def sleep(self, seconds):
        await asyncio.sleep(max(0.0, seconds))


def gatherer_of(keeper, clock, tmp_path, rules=()):
    config = load_config(write_config(tmp_path, 1, NOWHERE))
    return Gatherer(
        Shape("edge-01", "json", 200_000), keeper, clock, Reporter(rules, {}), Buffer(config.outbox, clock)
    )


async def test_an_outage_of_72_hours_is_drained_with_what_happens_now_first(tmp_path, mosquitto):
    clock, rounds = LeapingClock(), 72 * 12
    config = load_config(write_config(tmp_path, mosquitto.port, NOWHERE))
    box = Outbox.open(
        config.outbox.path, max_bytes=10**8, gap_message=GapMessage("edge-01"), now_ms=clock.now_ms
    )
    box._db.execute("PRAGMA synchronous=OFF")  # the test's patience, not the promise
    async with Keeper(box) as keeper:
        gatherer = gatherer_of(keeper, clock, tmp_path)
        for _ in range(rounds):
            clock.ahead_s += 300
            for device in range(5):
                gatherer.take(Reading(f"d{device}", clock.now_ms(), {"sound_level": 40.0}))
            await gatherer.flush()
        uplink = Uplink(
            config, keeper, clock, Budget(None, clock),
            lambda since: AgentStatus("edge-01", since is not None, keeper.boot, since or 0), {},
        )  # fmt: skip
        end = Cloud(mosquitto.port)
        async with running(end.run(), uplink.run()):
            await wait_until(lambda: uplink.window.history_bytes_per_s, 30, "history to flow")
            began, before = clock.now_ms(), len(end.uploads)
            gatherer.take(Reading("now", began, {"sound_level": 90.0}))
            await gatherer.flush()
            await wait_until(lambda: any(r["device"] == "now" for r in end.readings), 20)
            place = [wire.decode(p, Upload).readings[0].device for p in end.uploads.values()].index("now")
            assert place - before <= 2 * uplink.window.size, "not behind three days"
            assert place < rounds
            await wait_until(lambda: keeper.size == 0, 120, "all to arrive")
            told = await keeper.counters()
    assert told.made == told.freed == end.samples == rounds * 5 + 1
    history = [wire.decode(p, Upload).readings[0] for p in end.uploads.values()]
    times = [r.time for r in history if r.device != "now" and r.time < began - 60_000]
    assert times == sorted(times), "history in its own order"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file system that is full: run as root")
async def test_a_full_disk_loses_nothing_that_memory_holds_and_recovers_by_itself(mosquitto, small_disk):
    config = write_config(small_disk, mosquitto.port, NOWHERE)
    agent = await start(config)
    await wait_until(lambda: _made(small_disk) >= 5, 20)
    with contextlib.suppress(OSError), (small_disk / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    await wait_until(lambda: _is_full(config), 30, "the agent to say that it cannot write")
    assert agent.returncode is None
    (small_disk / "filler").unlink()
    before = _made(small_disk)
    await wait_until(lambda: _made(small_disk) > before + 20, 30, "readings to be kept again")
    async with running((end := Cloud(mosquitto.port)).run()):
        await wait_until(lambda: end.samples >= before + 20, 30)
        assert await stop(agent) == 0
    told = counters(small_disk)
    assert told["made"] == told["freed"] + told["queued"] + told["dropped"]


def _made(folder):
    with contextlib.suppress(Exception):
        return counters(folder)["made"]
    return 0


async def _is_full(config):
    from edge_agent.local import ask
    from telemetry.errors import Unavailable

    with contextlib.suppress(Unavailable):
        answer = await ask(load_config(config).socket, "status")
        return b"is full" in answer or b"disk I/O" in answer
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk read-only: run as root")
async def test_a_read_only_disk_is_said_so_and_readings_still_arrive(tmp_path, mosquitto, cloud, small_disk):
    config = write_config(small_disk, mosquitto.port, NOWHERE)
    log = tmp_path / "log"
    await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with log.open("ab") as out:
        agent = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent", "--config", str(config), stderr=out
        )
    await wait_until(lambda: len(cloud.readings) >= 5, 30, "readings to arrive from memory")
    assert "outbox_is_in_memory" in log.read_text()
    assert await stop(agent) == 0


class SlowCloud(Cloud):
    """Acknowledges each message when several more have come, so that something waits always."""

    async def _take(self, client, payload):
        asyncio.get_running_loop().call_later(0.7, self._later, super()._take(client, payload))

    def _later(self, taking):
        self.acks = [*getattr(self, "acks", []), asyncio.ensure_future(taking)]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk read-only: run as root")
async def test_when_the_disk_is_back_the_agent_goes_back_to_it_and_nothing_is_lost_on_the_way(
    mosquitto, small_disk, monkeypatch
):
    monkeypatch.setattr("edge_agent.storage._LOOK_S", 0.5)
    left, shut = [], Keeper.__aexit__

    async def shutting(keeper, *how):
        left.append(await keeper.counters())
        await shut(keeper, *how)

    monkeypatch.setattr(Keeper, "__aexit__", shutting)
    config = write_config(small_disk, mosquitto.port, NOWHERE)
    await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,ro", str(small_disk)], check=True)
    cloud, end = SlowCloud(mosquitto.port), asyncio.Event()
    async with running(cloud.run()):
        agent = asyncio.ensure_future(app.run(config, stop=end))
        await wait_until(lambda: len(cloud.readings) >= 5, 30, "readings to arrive from memory")
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,rw", str(small_disk)], check=True)
        await wait_until(lambda: left, 30, "the agent to go back to its disk")
        await wait_until(lambda: _made(small_disk) >= 5, 20, "readings to be on disk")
        end.set()
        await agent
    assert left[0].messages == 0
    assert left[0].made == left[0].freed


async def test_a_corrupt_outbox_is_moved_aside_and_the_cloud_is_told(tmp_path, mosquitto, cloud):
    config = write_config(tmp_path, mosquitto.port, NOWHERE)
    (tmp_path / "edge-01.db").write_bytes(os.urandom(20_000))
    agent = await start(config)
    await wait_until(lambda: len(cloud.readings) >= 3, 20)
    assert await stop(agent) == 0
    gaps = [gap for payload in cloud.uploads.values() for gap in wire.decode(payload, Upload).gaps]
    assert [gap.cause for gap in gaps] == ["outbox_corrupt"]
    assert list(tmp_path.glob("edge-01.db.corrupt-*"))


def test_a_power_cut_in_mid_write_leaves_whole_messages(tmp_path):
    dice = random.Random(7)
    for round_ in range(40):
        path = tmp_path / f"{round_}.db"
        box = Outbox.open(path, max_bytes=10**7)
        for n in range(20):
            with box.transaction():
                box.put(lambda _, n=n: b"%d" % n * 300, samples=1)
        torn = tmp_path / f"torn-{round_}.db"
        shutil.copy(path, torn)
        wal = path.with_name(path.name + "-wal").read_bytes()
        cut = dice.randrange(len(wal) + 1)
        junk = os.urandom(dice.choice([0, 100, 5000]))
        torn.with_name(torn.name + "-wal").write_bytes(wal[:cut] + junk)
        box.close()
        again = Outbox.open(torn, max_bytes=10**7)
        kept = again.waiting(100)
        assert [m.payload for m in kept] == [b"%d" % n * 300 for n in range(len(kept))], "a prefix, whole"
        told = again.counters()
        assert told.made == told.queued == len(kept)
        assert again.note("moved_aside") is None
        again.close()


@pytest.mark.parametrize("step_s", [86_400.0, 1_700_000_000.0, -7200.0])
async def test_what_a_wrong_clock_has_stamped_is_stamped_again_and_marked(tmp_path, step_s):
    real = T0
    clock = ManualClock(int(real - step_s * 1000))
    box = Outbox.open(
        tmp_path / "o.db", max_bytes=10**7, gap_message=GapMessage("edge-01"), now_ms=clock.now_ms
    )
    told = []
    async with Keeper(box) as keeper:
        gatherer = gatherer_of(
            keeper, clock, tmp_path, [ReportRule("window", device="slow", window_s=86_000)]
        )
        watcher = asyncio.ensure_future(
            watch_clock(clock, keeper, gatherer, "json", lambda: told.append(clock.now_ms()))
        )
        taken = {}
        for n in range(6):
            await clock.advance(10)
            await asyncio.sleep(0.01)  # the watcher's look at the outbox is a thread's work
            taken[f"d{n}"] = real + (n + 1) * 10_000
            gatherer.take(Reading(f"d{n}", clock.now_ms(), {"sound_level": 40.0}))
            gatherer.take(Reading("slow", clock.now_ms(), {"sound_level": 40.0 + n}))
            await gatherer.flush()
        await clock.advance(1)
        await asyncio.sleep(0.05)
        gone = await keeper.look(
            lambda box: box.hand_out(box.waiting(1))
        )  # handed out: may be committed already
        clock.step_wall(step_s)
        await clock.advance(0.6)
        await wait_until(lambda: told, 5)
        gatherer.take(Reading("after", clock.now_ms(), {"sound_level": 41.0}))
        await gatherer.flush(ending=True)
        rows = await keeper.look(lambda box: box.waiting(100))
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    readings = [
        r for row in rows if row.seq != gone[0].seq for r in wire.decode(row.payload, Upload).readings
    ]
    for reading in readings:
        if reading.device in taken:
            assert abs(reading.time - taken[reading.device]) <= 1, reading
            assert reading.quality == {"sound_level": Quality.CLOCK_SUSPECT}
        if reading.device == "slow":
            assert real <= reading.time <= real + 61_000
    (after,) = (r for r in readings if r.device == "after")
    assert after.quality == {}
    assert {r.device for r in readings} == {*list(taken)[1:], "slow", "after"}
    assert rows[0].payload == gone[0].payload


async def test_a_clock_that_is_set_while_the_disk_takes_nothing_moves_what_waits_once(tmp_path):
    clock = ManualClock(T0)
    box = Outbox.open(tmp_path / "o.db", max_bytes=10**7, now_ms=clock.now_ms)
    async with Keeper(box) as keeper:
        rules = [ReportRule("window", window_s=86_000)]
        gatherer = gatherer_of(keeper, clock, tmp_path, rules)
        told = []
        async with running(watch_clock(clock, keeper, gatherer, "json", lambda: told.append(1))):
            for value in (40.0, 41.0):
                gatherer.take(Reading("d", clock.now_ms(), {"sound_level": value}))
                await clock.advance(30)
            await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 1"))
            clock.step_wall(5)
            for _ in range(10):  # the disk is asked again at each tick
                await clock.advance(0.5)
                await asyncio.sleep(0.01)
            await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 0"))
            await wait_until(lambda: told or clock.advance(0.5))
            await gatherer.flush(ending=True)
            (row,) = await keeper.look(lambda box: box.waiting(100))
    times = [reading.time - T0 for reading in wire.decode(row.payload, Upload).readings]
    assert times == [5_000, 35_000]


async def test_what_is_read_after_a_clock_was_set_is_believed_though_the_disk_takes_nothing(tmp_path):
    clock = ManualClock(T0)
    box = Outbox.open(tmp_path / "o.db", max_bytes=10**7, now_ms=clock.now_ms)
    async with Keeper(box) as keeper:
        gatherer, told = gatherer_of(keeper, clock, tmp_path), []
        async with running(watch_clock(clock, keeper, gatherer, "json", lambda: told.append(1))):
            await clock.advance(0.5)
            await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 1"))
            clock.step_wall(5)
            for _ in range(4):
                await clock.advance(0.5)
                await asyncio.sleep(0.01)
            gatherer.take(good := Reading("d", clock.now_ms(), {"sound_level": 40.0}))
            for _ in range(4):
                clock.step_wall(0.001)  # two clocks are never read in the same moment
                await clock.advance(0.5)
                await asyncio.sleep(0.01)
            await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 0"))
            await wait_until(lambda: told or clock.advance(0.5))
            await gatherer.flush(ending=True)
            (row,) = await keeper.look(lambda box: box.waiting(100))
    assert list(wire.decode(row.payload, Upload).readings) == [good]


class BrokenDisk:
    """Where SQLite can neither read nor write any more."""

    def execute(self, *_):
        raise sqlite3.OperationalError("disk I/O error")

    def close(self):
        pass


async def test_a_disk_that_breaks_under_a_running_agent_is_told_of_and_ends_nothing(tmp_path):
    config = load_config(write_config(tmp_path, 1, NOWHERE))
    clock, box = ManualClock(), Outbox.open(config.outbox.path, max_bytes=10**7)
    async with Keeper(box) as keeper:
        gatherer, buffer = gatherer_of(keeper, clock, tmp_path), Buffer(config.outbox, clock)
        uplink = Uplink(config, keeper, clock, Budget(None, clock), lambda _: None, {})
        board = Board(config, clock, "1")
        board.knows(keeper, gatherer, uplink, buffer)
        assert (await board.snapshot()).outbox.trouble == ""
        sound, box._db = box._db, BrokenDisk()
        async with running(
            watch := asyncio.ensure_future(watch_clock(clock, keeper, gatherer, "json", list))
        ):
            for _ in range(5):
                await clock.advance(0.5)
                await asyncio.sleep(0.01)
            assert not watch.done()
        assert (await board.snapshot()).outbox.trouble == "outbox: disk I/O error"
        sound.close()


def test_a_clock_that_was_never_set_is_marked_from_the_first_reading():
    early = sane(Reading("d", 1000, {"a": 1.0, "b": None}, {"b": Quality.NO_ANSWER}))
    assert early.quality == {"a": Quality.CLOCK_SUSPECT, "b": Quality.NO_ANSWER}
    good = Reading("d", SANE_MS, {"a": 1.0})
    assert sane(good) is good
    assert not Step(5000, SANE_MS, 0).is_old(SANE_MS - 1000), "stamped after the step"


async def test_the_room_shrinks_with_the_disk_and_the_gap_says_why(tmp_path, monkeypatch):
    clock = ManualClock()
    config = load_config(write_config(tmp_path, 1, NOWHERE, max_bytes=200_000))
    buffer = Buffer(config.outbox, clock)
    for _ in range(120):
        await clock.advance(1)
        buffer.put(1000)
    assert buffer.bytes_per_s == pytest.approx(1000, rel=0.05)
    assert buffer.lasts_s(50_000) == pytest.approx(150, rel=0.05)
    assert Buffer(config.outbox, clock, buffer.note()).bytes_per_s == pytest.approx(1000, rel=0.05)
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: _Disk(real, config.outbox.keep_free_bytes + 30_000))
    assert buffer.limit(50_000) == 80_000
    box = Outbox.open(config.outbox.path, max_bytes=200_000, gap_message=GapMessage("edge-01"))
    async with Keeper(box) as keeper:
        from edge_agent.upkeep import keep_up

        keeping = asyncio.ensure_future(keep_up(keeper, buffer, 200_000, clock))
        await asyncio.sleep(0.05)
        for _ in range(100):
            await keeper.transact(lambda box: box.put(lambda _: bytes(1000), samples=1))
        told = await keeper.counters()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert told.bytes <= 80_000
    assert set(told.dropped) == {"disk_full"}
    assert told.made == told.queued + told.dropped["disk_full"] == 100


class _Disk:
    def __init__(self, real, free):
        self.f_frsize, self.f_bavail = 1, free
        self.real = real
