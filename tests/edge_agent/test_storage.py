"""What an agent remembers goes with it from memory to the disk: nothing is done or begun a second time."""

import asyncio
import base64
import json
import sqlite3
import threading

import aiomqtt
import msgspec
import pytest
from agents import AREA, NOWHERE, Cloud, cabinet, write_config
from lines import Slave, running
from structlog.testing import capture_logs
from waiting import wait_until

from edge_agent import app, storage
from edge_agent.carried import carry_over
from edge_agent.config import load_config
from edge_agent.gather import GapMessage, Shape
from edge_agent.memory import Memory
from edge_agent.record import Recorder
from edge_agent.storage import Storage
from rules.state import State
from telemetry import topics
from telemetry.clock import SystemClock
from telemetry.codecs import json as wire
from telemetry.commands import ActionUpload, Command, CommandResult, CommandState
from telemetry.errors import Unavailable
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox, Priority
from telemetry.readings import Gap, Upload
from telemetry.testing import ManualClock
from telemetry.transitions import Change
from tests.rules.scenes import HOT, T0, engine, frame, told

MORE = """
[[linkage]]
rule = "smoke_detector.fire"
target = "lamp-01"
metric = "dimming"
value = 100
[[commands.allow]]
"""


class Disk:
    """A disk that takes nothing until it is mended, and then refuses once when the agent comes home."""

    def __init__(self, monkeypatch):
        self.is_mended, self.homecomings, self._open = False, 0, storage.on_disk
        carried = Storage._carried

        def come_home(*arguments):
            self.homecomings += 1
            if self.homecomings == 1:
                raise Unavailable("gone again")
            return carried(*arguments)

        monkeypatch.setattr(storage, "_LOOK_S", 0.5)
        monkeypatch.setattr(storage, "on_disk", self._on_disk)
        monkeypatch.setattr(Storage, "_carried", come_home)

    def _on_disk(self, config, clock):
        if not self.is_mended:
            raise Unavailable("no disk")
        return self._open(config, clock)


class Told(Cloud):
    """What the agent told of its alarms and commands."""

    @property
    def uploads_told(self):
        return [wire.decode(payload, ActionUpload) for payload in self.uploads.values()]

    def results(self, id_):
        return [(r.state, r.problem) for told in self.uploads_told for r in told.results if r.id == id_]

    @property
    def linked(self):
        return [r.state for told in self.uploads_told for r in told.results if r.id.startswith("link-")]

    @property
    def changes(self):
        return [(t.alarm, t.change) for told in self.uploads_told for t in told.transitions]

    async def send(self, id_, value):
        command = Command(id_, "lamp-01", SystemClock().now_ms() + 60_000, "dimming", value, by="operator")
        async with aiomqtt.Client("127.0.0.1", self.port) as client:
            await client.publish(topics.cmd(AREA, "edge-01"), msgspec.json.encode(command), 1)


async def test_what_was_done_while_there_was_no_disk_is_not_done_again_when_it_is_back(
    tmp_path, mosquitto, monkeypatch
):
    disk, cloud, end = Disk(monkeypatch), Told(mosquitto.port), asyncio.Event()
    lamp = Slave("lamp-01", 5, "openvmi_lamp_unit5", {"dimming": 20.0})
    smoke = Slave("smoke-01", 2, "calectro_uniguard", {"smoke_alarm": 0.0, "fault": 0.0})
    async with (
        running(cloud.run()),
        cabinet(tmp_path, [lamp, smoke], mosquitto.port, MORE, 0.2) as config,
    ):
        agent = asyncio.ensure_future(app.run(config, stop=end))
        await wait_until(lambda: len(cloud.readings) >= 5, 30, "readings from memory")
        smoke.set("smoke_alarm", 1.0)
        await wait_until(lambda: CommandState.VERIFIED in cloud.linked, 20, "the lamp to answer the fire")
        await cloud.send("c1", 40.0)
        await wait_until(lambda: (CommandState.VERIFIED, "") in cloud.results("c1"), 20)
        began, written = cloud.changes, len(lamp.writes)
        assert [change for _, change in began] == [Change.BEGAN]
        with capture_logs() as log:
            disk.is_mended = True
            await wait_until(lambda: disk.homecomings == 2, 60, "the agent to try again, and to come home")
            await wait_until(lambda: [line for line in log if line["event"] == "agent_up"][1:], 20)
        assert [line["problem"] for line in log if line["event"] == "outbox_is_in_memory"] == ["gone again"]
        before = len(cloud.readings)
        await wait_until(lambda: len(cloud.readings) > before + 10, 30, "readings from the disk")
        await cloud.send("c1", 40.0)
        refused = (CommandState.REFUSED, "repeated: 'c1' was taken before and is verified")
        await wait_until(lambda: refused in cloud.results("c1"), 20, "the repeated command to be refused")
        assert cloud.changes == began, "the alarm goes on under its id"
        assert len(lamp.writes) == written
        assert lamp.values["dimming"] == 40.0
        smoke.set("smoke_alarm", 0.0)
        await wait_until(lambda: (began[0][0], Change.ENDED) in cloud.changes, 20, "the same alarm to end")
        end.set()
        await agent


@pytest.fixture
def outboxes():
    boxes = [Outbox(sqlite3.connect(":memory:", isolation_level=None), max_bytes=10**6) for _ in range(2)]
    yield boxes
    for box in boxes:
        box.close()


def carried(outboxes, key, disk, memory):
    """Return the note that becomes of the disk's and memory's; None: there is none."""
    came, stays = outboxes
    for box, note in ((came, memory), (stays, disk)):
        if note is not None:
            box.set_note(key, note)
    with stays.transaction():
        carry_over(came, stays, 0)
    return stays.note(key)


def known(state, **more):
    return {"state": state, "device": "valve-01", "not_after": 5000, **more}


WAITS = {"id": "both", "device": "valve-01", "not_after": 5000, "metric": "valve", "value": 1.0}


def test_every_command_is_remembered_as_far_as_either_knows_it_to_have_come(outboxes):
    disk = {
        "ids": {
            "held": known("accepted", command=WAITS), "done": known("verified"), "both": known("accepted"),
            "told": known("executed", command=WAITS),
        },
        "acted": {"valve-01": [10, 20], "pump-01": [5]},
    }  # fmt: skip
    memory = {
        "ids": {
            "new": known("accepted", command=WAITS), "done": known("accepted", command=WAITS),
            "both": known("failed"), "told": known("accepted", command=WAITS),
        },
        "acted": {"valve-01": [20, 30], "lamp-01": [7]},
    }  # fmt: skip
    note = json.loads(carried(outboxes, "commands", json.dumps(disk), json.dumps(memory)))
    assert {name: one["state"] for name, one in note["ids"].items()} == {
        "held": "accepted", "done": "verified", "both": "failed", "told": "executed", "new": "accepted",
    }  # fmt: skip
    assert note["ids"]["held"]["command"]["id"] == note["ids"]["new"]["command"]["id"] == "both"
    assert "command" not in note["ids"]["done"]
    assert note["acted"] == {"valve-01": [10, 20, 30], "pump-01": [5], "lamp-01": [7]}


@pytest.mark.parametrize(
    ("key", "disk", "memory", "both"),
    [
        ("budget", "20000:300", "20000:500", "20000:800"),
        ("budget", "20000:300", "20001:500", "20001:500"),
        ("budget", "nonsense", "20001:500", "20001:500"),
        ("commands", "{", '{"ids":{},"acted":{}}', '{"ids":{},"acted":{}}'),
        ("buffer", "1.000", "2.000", "2.000"),
        ("buffer", "1.000", None, "1.000"),
        ("held", None, "[]", "[]"),
        ("moved_aside", "old.corrupt-1", None, "old.corrupt-1"),
    ],
)
def test_of_other_notes_the_later_is_right_and_bytes_of_one_day_count_together(
    outboxes, key, disk, memory, both
):
    assert carried(outboxes, key, disk, memory) == both


def test_what_waited_for_a_windows_end_waits_from_both(outboxes):
    def held(time):
        return json.dumps([{"device": "d1", "time": time, "values": {"temperature": 20.0}}])

    note = json.loads(carried(outboxes, "held", held(1), held(2)))
    assert [reading["time"] for reading in note] == [1, 2]


def test_an_alarm_that_only_the_disk_knows_stands_on_and_ends_under_its_id(outboxes):
    judge = engine(HOT)
    old, before = judge.evaluate(
        State.empty(), frame((0, 95.0), (0, 95.0, "b2"), (0, 95.0, "b3"), (0, 20.0, "b4")), T0
    )
    new, since = judge.evaluate(State.empty(), frame((9, 95.0, "b5"), (9, 95.0, "b3"), (9, 20.0)), T0)
    disk, memory = (base64.b64encode(state.dump("boiler")).decode() for state in (old, new))
    note = carried(outboxes, "judged:boiler", disk, memory)
    state = State.load({"boiler": base64.b64decode(note)})
    by_device = {t.device: t.alarm for t in (*before, *since)}
    assert {t.device: t.alarm for t in judge.active(state)} == by_device, "b3 as memory knows it"
    again = frame(*((10, 95.0, device) for device in ("b1", "b2", "b3", "b5")), (10, 20.0, "b4"))
    state, found = judge.evaluate(state, again, T0)
    assert found == [], "nothing begins again"
    _, found = judge.evaluate(state, frame(*((99, 20.0, d) for d in ("b1", "b2", "b3", "b5"))), T0)
    assert {t.device: t.alarm for t in found} == by_device
    assert {kind for kind, *_ in told(found)} == {"ended"}


def test_an_alarm_that_began_anew_in_memory_ends_under_the_id_that_the_disk_knows(outboxes):
    judge, (came, stays) = engine(HOT), outboxes
    old, before = judge.evaluate(
        State.empty(), frame((0, 95.0), (0, 95.0, "b2"), (0, 95.0, "b3"), (0, 95.0, "b4")), T0
    )
    new, _ = judge.evaluate(State.empty(), frame((9, 95.0), (9, 95.0, "b2"), (9, 20.0, "b3")), T0)
    new, _ = judge.evaluate(new, frame((19, 20.0, "b2")), T0)
    for box, state in ((stays, old), (came, new)):
        box.set_note("judged:boiler", base64.b64encode(state.dump("boiler")).decode())
    with stays.transaction():
        ended = carry_over(came, stays, T0 + 60_000)
    ids = {t.device: t.alarm for t in before}
    assert {t.device: t.alarm for t in ended} == {"b1": ids["b1"], "b2": ids["b2"]}, "the others stand"
    assert {(t.change, t.time, t.judged) for t in ended} == {(Change.ENDED, T0 + 9000, T0 + 60_000)}
    assert {t.id for t in ended} == {f"{t.alarm}-1" for t in ended}
    state = State.load({"boiler": base64.b64decode(stays.note("judged:boiler"))})
    _, found = judge.evaluate(state, frame(*((99, 20.0, d) for d in ("b1", "b2", "b3", "b4"))), T0)
    assert sorted(t.device for t in found) == ["b1", "b3", "b4"]
    assert ids["b1"] not in {t.alarm for t in found}


def test_the_cloud_is_told_of_the_end_of_an_alarm_that_began_anew_in_memory(tmp_path, monkeypatch):
    judge, clock = engine(HOT), ManualClock(T0 + 60_000)
    config, real, begun = load_config(write_config(tmp_path, 1, NOWHERE)), storage.on_disk, []

    def no_disk(*_):
        raise Unavailable("no disk")

    with Storage(clock) as kept:
        for at, on_disk in ((0, real), (9, no_disk)):
            monkeypatch.setattr(storage, "on_disk", on_disk)
            state, began = judge.evaluate(State.empty(), frame((at, 95.0)), T0)
            box, _ = kept.open(config)
            box.set_note("judged:boiler", base64.b64encode(state.dump("boiler")).decode())
            begun += began
            box.close()
        monkeypatch.setattr(storage, "on_disk", real)
        box, _ = kept.open(config)
        (message,) = box.waiting(9)
        box.close()
    (told,) = wire.decode(message.payload, ActionUpload).transitions
    assert (told.alarm, told.change) == (begun[0].alarm, Change.ENDED)
    assert message.priority == Priority.ALARM


def test_the_book_of_the_outbox_in_memory_goes_on_in_that_on_disk(outboxes):
    came, stays = outboxes
    for box in outboxes:
        box._gap_message = GapMessage("edge-01")
        with box.transaction():
            for samples in (3, 4, 5):
                box.put(lambda _: b"x", samples=samples)
            box.withhold("window", 7)
            box.acknowledge(box.boot, [(1, 1)])
            box.lose(Gap("disk_full", 2, 10, 20))
    with stays.transaction():
        assert carry_over(came, stays, 99) == []
    book = stays.counters()
    assert (book.made, book.freed, book.queued) == (28, 6, 9)
    assert book.dropped == {"disk_full": 4, "memory_lost": 9}
    assert book.not_reported == {"window": 14}
    assert book.made == book.freed + book.queued + sum(book.dropped.values())
    gaps = [wire.decode(m.payload, Upload).gaps[0] for m in stays.waiting(9) if m.priority == Priority.GAP]
    assert [(gap.cause, gap.samples) for gap in gaps] == [("disk_full", 2), ("memory_lost", 9)]


def test_a_disk_that_is_back_when_the_agent_stops_is_told_what_it_remembers(tmp_path, mosquitto):
    (tmp_path / "disk").write_text("no folder")
    path = write_config(tmp_path, mosquitto.port, NOWHERE)
    path.write_text(path.read_text().replace('"edge-01.db"', '"disk/edge-01.db"'))
    config, clock = load_config(path), ManualClock(T0)
    with Storage(clock) as kept:
        box, why = kept.open(config)
        assert "disk" in why
        box.set_note("budget", "20000:7")
        box.close()
        again, _ = kept.open(config)
        assert again.note("budget") == "20000:7", "another configuration finds it in memory"
        (tmp_path / "disk").unlink()
        with again.transaction():
            again.put(lambda _: b"waits", samples=1)
        again.close()
        waits, why = kept.open(config)
        assert why == "1 messages wait in memory until the cloud has them"
        assert waits.counters().queued == 1
        waits.close()
    home, why = Storage(clock).open(config)
    assert (home.note("budget"), why) == ("20000:7", "")
    home.close()


def test_a_disk_that_is_full_of_other_things_leaves_in_memory_what_it_does_not_take(small_disk, mosquitto):
    path, disk = write_config(small_disk.parent, mosquitto.port, NOWHERE), small_disk / "box"
    path.write_text(path.read_text().replace('"edge-01.db"', '"disk/box/edge-01.db"'))
    config, remembered = load_config(path), "x" * 400_000
    disk.write_text("no folder")
    with Storage(ManualClock(T0)) as kept:
        box, _ = kept.open(config)
        box.set_note("any", remembered)
        box.close()
        disk.unlink()
        other = small_disk / "other"
        other.write_bytes(b"y" * 700_000)
        box, why = kept.open(config)
        assert (why, box.note("any")) == ("outbox: database or disk is full", remembered)
        box.close()
        other.unlink()
        box, why = kept.open(config)
        assert (why, box.note("any")) == ("", remembered)
        box.close()


async def test_whether_a_disk_is_back_is_found_out_beside_everything_else(tmp_path, monkeypatch):
    config, clock = load_config(write_config(tmp_path, 1, NOWHERE)), ManualClock(T0)
    asked, goes_on, real = threading.Event(), threading.Event(), storage.on_disk

    def slow(*arguments):
        asked.set()
        if not goes_on.wait(10):
            raise TimeoutError("everything waited for the disk")
        return real(*arguments)

    monkeypatch.setattr(storage, "on_disk", slow)
    back = asyncio.ensure_future(storage.disk_is_back(config, clock))
    await wait_until(lambda: asked.is_set() or clock.advance(10))
    goes_on.set()
    await back


async def test_results_beyond_what_memory_holds_are_lost_aloud_once_and_counted(tmp_path):
    clock = ManualClock(T0)
    async with Keeper(Outbox.open(tmp_path / "outbox.db", max_bytes=0)) as keeper:
        memory = Memory(keeper, Recorder(Shape("edge-01", "json", 10**6), clock), clock)
        with capture_logs() as log:
            for n in range(1003):
                await memory.write_down(CommandResult(f"c{n}", "lamp-01", CommandState.FAILED, T0))
        lost = [line for line in log if line["event"] == "results_lost"]
        assert [line["oldest"] for line in lost] == ["c0"]
        assert "free disk space" in lost[0]["way_out"]
        await keeper.look(lambda box: box.set_limit(10**7))
        with capture_logs() as log:
            await asyncio.gather(memory.settle(), memory.settle())
        assert [line["results_lost"] for line in log] == [3]
        (message,) = await keeper.look(lambda box: box.waiting(9))
        told = wire.decode(message.payload, ActionUpload).results
        assert [result.id for result in told] == [f"c{n}" for n in range(3, 1003)]
