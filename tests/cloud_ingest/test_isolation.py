"""A message that breaks ingest costs itself: the others are committed, its bytes are kept, and nothing is done twice."""

import asyncio
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cloud_ingest.admission import Admission
from cloud_ingest.config import LedgerConfig
from cloud_ingest.isolation import isolated
from cloud_ingest.latest import Latest
from cloud_ingest.ledger import FAULT, Ledger, Quarantined
from cloud_ingest.source import Delivery
from cloud_ingest.turns import LIVE_MS, Lane
from rules.engine import Engine
from rules.frame import Frame
from telemetry.codecs import json
from telemetry.errors import Unavailable
from telemetry.readings import Reading, Upload

SMOKE = {"smoke_alarm": 1.0, "fault": 0.0}
VALUE = {"noise-01": {"sound_level": 50.0}, "soil-01": {"soil_moisture": 20.0}}


def breaks_at(monkeypatch, stage, name):
    """Let a stage fail as a fault in it would: whenever the soil sensor is in what it is given."""
    whole = getattr(stage, name)

    def failing(self, *arguments, **named):
        for one in arguments:
            if isinstance(one, Upload) and one.readings[0].device == "soil-01":
                raise IndexError("index 7 is out of bounds for axis 0 with size 7")
            if isinstance(one, Frame) and "soil-01" in one.devices:
                raise IndexError("index 7 is out of bounds for axis 0 with size 7")
        return whole(self, *arguments, **named)

    monkeypatch.setattr(stage, name, failing)


def alarms(bench):
    return [m.payload for m in bench.ledger.outbox.waiting(100)]


def quarantine(bench):
    return bench.ledger._db.execute(
        "SELECT agent, reason, detail, samples, payload FROM quarantine"
    ).fetchall()


@given(st.lists(st.booleans(), max_size=40))
def test_what_is_good_is_worked_on_once_and_in_its_order_and_only_what_fails_is_set_aside(are_bad):
    done, aside = [], []

    def work(part):
        if any(are_bad[n] for n in part):
            raise ValueError(part)
        done.extend(part)
        return len(part)

    told = isolated(range(len(are_bad)), work, lambda n, _: aside.append(n) or 0)
    assert done == [n for n, is_bad in enumerate(are_bad) if not is_bad]
    assert aside == [n for n, is_bad in enumerate(are_bad) if is_bad]
    assert sum(told) == len(done)


@pytest.mark.parametrize(
    "error", [Unavailable("away"), OSError(28, "full"), MemoryError(), sqlite3.DatabaseError("malformed")]
)
def test_no_message_is_blamed_for_what_ingest_runs_on(error):
    def work(_):
        raise error

    with pytest.raises(type(error)):
        isolated([1, 2, 3], work, lambda *_: pytest.fail("set aside"))


@pytest.mark.parametrize(("stage", "name"), [(Admission, "admit"), (Engine, "evaluate"), (Latest, "note")])
def test_a_message_that_breaks_a_stage_goes_to_quarantine_and_all_others_are_committed(
    bench, monkeypatch, stage, name
):
    breaks_at(monkeypatch, stage, name)
    poison = bench.upload(3, {"soil_moisture": 20.0}, device="soil-01")
    others = [bench.upload(n, {"sound_level": 50.0 + n}) for n in (1, 2, 4)]
    fire = bench.upload(5, SMOKE, device="smoke-01")
    acks, news = bench.deliver(others[0], others[1], poison, others[2], fire)
    assert news
    assert len(alarms(bench)) == 1, "judged once, though what came with it was tried again"
    assert {pair for _, ack in acks for pair in ack.ranges} >= {(1, 5)}, (
        "whoever sent it shall not send it for ever"
    )
    if stage is not Latest:  # which comes after the commit: by then nothing of it is lost
        assert [(row[0], row[1], row[3], row[4]) for row in quarantine(bench)] == [
            ("edge-01", "ingest fault", 1, poison)
        ]
        assert "IndexError: index 7" in quarantine(bench)[0][2]
        assert bench.fates() == {"received": 6, "stored": 5, "quarantined": 1, "duplicated": 0}
    bench.close()
    bench.open()
    acks, news = bench.deliver(poison, fire)
    assert (len(acks), news) == (1, False), "delivered again after a restart it stops nobody"
    assert len(alarms(bench)) == 1


def test_a_message_that_breaks_ingest_after_it_has_waited_lets_those_behind_it_pass(bench, monkeypatch):
    old = bench.clock.now_ms() - 2 * LIVE_MS
    devices = ["noise-01"] * 40 + ["soil-01"] + ["noise-01"] * 40
    bench.deliver(
        *(
            json.encode(Upload("edge-01", "b", seq, old, (Reading(device, old + seq, VALUE[device]),)))
            for seq, device in enumerate(devices, 1)
        ),
        bench.upload(100, VALUE["noise-01"]),
    )
    assert bench.pipeline._turns.count(Lane.HISTORY) == len(devices)
    breaks_at(monkeypatch, Admission, "admit")
    while bench.pipeline._turns.waiting:
        bench.pipeline.process_held(1.0)
    assert [row[1] for row in quarantine(bench)] == ["ingest fault"]
    bench.writer.flush()
    assert bench.fates() == {"received": 82, "stored": 81, "quarantined": 1, "duplicated": 0}
    assert not bench.ledger._db.execute("SELECT count(*) FROM held").fetchone()[0]


def test_nobody_answers_for_a_message_of_another_that_has_waited(bench, monkeypatch):
    devices = ["noise-01"] * 20 + ["soil-01"] + ["noise-01"] * 60
    mine = [
        ("edge-01", bench.upload(seq, VALUE[device], device=device)) for seq, device in enumerate(devices, 1)
    ]
    process(bench, *mine, ("edge-02", charger(bench, 1)))
    assert bench.pipeline._turns.count(Lane.EXCESS) > 60
    breaks_at(monkeypatch, Admission, "admit")
    acks, _ = process(bench, ("edge-02", charger(bench, 2)))
    assert [agent for agent, _ in acks] == ["edge-02"]
    assert quarantine(bench) == []
    while bench.pipeline._turns.waiting:
        bench.pipeline.process_held(1.0)
    assert [(row[0], row[1]) for row in quarantine(bench)] == [("edge-01", "ingest fault")]
    assert bench.reader.accounts()["edge-01"]["received"] == len(devices)


def process(bench, *uploads):
    now = bench.clock.now_ms()
    return bench.pipeline.process([Delivery(agent, "", payload, now, None) for agent, payload in uploads])


def charger(bench, seq):
    return bench.upload(seq, {"temperature": 30.0}, device="chg-01", agent="edge-02")


def test_a_disk_that_refuses_sends_nothing_to_quarantine(bench, monkeypatch):
    def refuse(*_):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(bench.ledger, "mark", refuse)
    with pytest.raises(Unavailable, match="disk I/O error"):
        bench.deliver(bench.upload(1, {"sound_level": 50.0}), bench.upload(2, {"sound_level": 51.0}))
    monkeypatch.undo()
    assert quarantine(bench) == []
    bench.deliver(bench.upload(1, {"sound_level": 50.0}), bench.upload(2, {"sound_level": 51.0}))
    assert bench.fates() == {"received": 2, "stored": 2, "quarantined": 0, "duplicated": 0}


def test_what_breaks_ingest_still_when_it_is_asked_for_again_stays_and_the_others_leave(bench, monkeypatch):
    breaks_at(monkeypatch, Admission, "admit")
    poison = bench.upload(1, {"soil_moisture": 20.0}, device="soil-01")
    bench.deliver(poison, bench.upload(2, {"sound_level": 50.0}, device="not-there"))
    assert len(quarantine(bench)) == 2
    bench.ledger._db.execute("UPDATE quarantine SET again = 1")
    bench.pipeline.process_again()
    assert ("ingest fault", poison) in [(row[1], row[4]) for row in quarantine(bench)]
    assert bench.pipeline.process_again() is False, "nobody asks for it any more"
    monkeypatch.undo()
    bench.ledger._db.execute("UPDATE quarantine SET again = 1 WHERE reason = 'ingest fault'")
    bench.pipeline.process_again()
    bench.writer.flush()
    assert [row[1] for row in quarantine(bench)] == ["unknown device"]
    assert bench.fates()["stored"] == 1


def kept(agent, reason, size=400):
    return Quarantined(agent, "", reason, "", 1, b"x" * size, 1_764_000_000_000)


def test_what_ingest_failed_at_makes_room_for_nothing_and_is_counted_until_it_is_let_go(tmp_path):
    config = LedgerConfig(tmp_path / "ledger.db", quarantine_bytes=1000)
    ledger = Ledger(config)
    with ledger.transaction():
        ledger.quarantine([kept("a", FAULT), kept("b", "malformed"), kept("c", "malformed")], 1)
    left = "SELECT agent FROM quarantine ORDER BY id"
    assert [row[0] for row in ledger._db.execute(left)] == ["a", "c"], "the oldest of the others has gone"
    with ledger.transaction():
        ledger.quarantine([kept("d", FAULT)], 1)
    assert ledger.faults == 2
    with pytest.raises(Unavailable, match="full of what ingest failed at"), ledger.transaction():
        ledger.quarantine([kept("e", FAULT)], 1)
    assert [row[0] for row in ledger._db.execute(left)] == ["a", "d"], "agents keep what finds no room"
    assert ledger.faults == 2
    ledger.close()
    ledger = Ledger(config)
    assert ledger.faults == 2, "a restart forgets none"
    with ledger.transaction():
        ledger.release([1])
    assert ledger.faults == 1
    ledger.close()


async def test_a_fault_at_the_ledger_on_the_way_to_the_store_stops_no_alarm(bench, monkeypatch):
    def fail(*_):
        raise IndexError("a fault of ours")

    async def here(work, *arguments):
        return work(*arguments)

    for seq, name in enumerate(("waiting", "stored"), 1):
        monkeypatch.setattr(bench.ledger.frames, name, fail)
        bench.deliver(bench.upload(seq, {"sound_level": 50.0}, time=bench.clock.now_ms()), store=False)
        writing = asyncio.ensure_future(bench.writer.run(here, here))
        for _ in range(3):
            await bench.clock.advance(60)
        assert bench.writer.problem == "a fault of this program: IndexError('a fault of ours')"
        monkeypatch.undo()
        for _ in range(5):
            await bench.clock.advance(60)
        assert bench.writer.problem == ""
        assert not writing.done()
        writing.cancel()
    bench.writer.flush()
    assert bench.fates() == {"received": 2, "stored": 2, "quarantined": 0, "duplicated": 0}


async def test_a_disk_that_is_full_on_the_way_to_the_store_is_said_as_that_and_as_no_fault_of_ours(
    bench, monkeypatch
):
    def fail(*_):
        raise OSError(28, "No space left on device")

    async def here(work, *arguments):
        return work(*arguments)

    monkeypatch.setattr(bench.store, "write", fail)
    bench.deliver(bench.upload(1, {"sound_level": 50.0}), store=False)
    with capture_logs() as logs:
        writing = asyncio.ensure_future(bench.writer.run(here, here))
        await bench.clock.advance(60)
        assert bench.writer.problem == "OSError: [Errno 28] No space left on device"
        monkeypatch.undo()
        await bench.clock.advance(60)
    writing.cancel()
    assert bench.fates() == {"received": 1, "stored": 1, "quarantined": 0, "duplicated": 0}
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["store_away"]


@pytest.mark.parametrize("stage", ["replaces", "write"])
async def test_a_store_that_breaks_loses_nothing_and_stops_no_alarm(bench, monkeypatch, stage):
    def fail(*_):
        raise IndexError("a fault of ours")

    async def here(work, *arguments):
        return work(*arguments)

    monkeypatch.setattr(bench.store, stage, fail)
    bench.deliver(bench.upload(1, {"sound_level": 50.0}), store=False)
    with capture_logs() as logs:
        writing = asyncio.ensure_future(bench.writer.run(here, here))
        for _ in range(3):
            await bench.clock.advance(60)
        assert bench.writer.problem == "a fault of this program: IndexError('a fault of ours')"
        _, news = bench.deliver(bench.upload(2, SMOKE, device="smoke-01"), store=False)
        assert news
        assert len(alarms(bench)) == 1
        monkeypatch.undo()
        bench.writer.changed()
        for _ in range(5):
            await bench.clock.advance(60)
    assert bench.fates() == {"received": 3, "stored": 3, "quarantined": 0, "duplicated": 0}
    assert [line["event"] for line in logs if line["event"] == "store_fault"] == ["store_fault"]
    writing.cancel()
