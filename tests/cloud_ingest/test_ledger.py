"""The ledger: what was committed stays, what was not leaves no trace, and a full disk is waited out."""

import asyncio
import sqlite3

import pytest
from waiting import wait_until

from cloud_ingest.config import LedgerConfig
from cloud_ingest.framelog import counts_of
from cloud_ingest.ledger import MOST_BOOTS, Ledger
from cloud_ingest.reader import LedgerReader
from cloud_ingest.writer import StoreWriter
from rules.engine import Engine
from rules.pack import load_packs
from telemetry.codecs import json
from telemetry.commands import ActionUpload, CommandResult, CommandState
from telemetry.errors import Unavailable
from telemetry.quality import Quality
from telemetry.testing import ManualClock
from telemetry.transitions import AlarmMessage


class FullDisk:
    """SQLite may take no more pages while this is entered."""

    def __init__(self, ledger):
        self._db = ledger._db

    def __enter__(self):
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.execute("VACUUM")
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        self._db.execute(f"PRAGMA max_page_count = {pages}")
        return self

    def __exit__(self, *_):
        self._db.execute("PRAGMA max_page_count = 1073741823")


def admit(bench, *payloads):
    """Commit without bringing it to the store."""
    return bench.deliver(*payloads, store=False)


def dumps(state):
    return {name: state.dump(name) for name in state.classes}


def soil(bench, seq, moisture, after_s):
    return bench.upload(
        seq, {"soil_moisture": moisture}, device="soil-01", time=bench.clock.now_ms() + after_s * 1000
    )


def big(bench, first):
    """Uploads that no page to spare has room for."""
    now = bench.clock.now_ms() - 10_000_000
    return [
        bench.upload(first + n, {"sound_level": 50.0 + n % 9}, time=now + (first + n) * 1000)
        for n in range(300)
    ]


def test_a_batch_that_meets_a_full_disk_leaves_no_trace_and_is_judged_the_same_when_it_comes_again(bench):
    bench.deliver(soil(bench, 1, 30.0, 0))
    jump = [soil(bench, 2, 90.0, 1), *big(bench, 3)]
    before = bench.fates(), dumps(bench.pipeline.state), bench.ledger.frames.waiting_bytes
    with FullDisk(bench.ledger), pytest.raises(Unavailable, match="full"):
        bench.deliver(*jump)
    assert (bench.fates(), dumps(bench.pipeline.state), bench.ledger.frames.waiting_bytes) == before
    assert not bench.ledger.knows("edge-01", "b", 2)
    acks, _ = bench.deliver(*jump)
    assert acks[0][1].ranges == ((1, 302),)
    assert [
        (value, quality)
        for _, value, quality in bench.store.history(
            "soil_monitor", "soil-01", "soil_moisture", (0, 2**60), 0, "mean"
        )
    ] == [(30.0, 0), (90.0, Quality.IMPLAUSIBLE)], "the first try must not have made the jump look settled"


def test_a_locked_ledger_is_unavailable_and_heals(bench):
    bench.ledger._db.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(bench.folder / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        bench.deliver(bench.upload(1, {"sound_level": 50.0}))
    other.execute("ROLLBACK")
    other.close()
    bench.deliver(bench.upload(1, {"sound_level": 50.0}))
    assert bench.fates()["stored"] == 1


async def test_the_store_writer_waits_out_a_full_disk_and_then_closes_its_count(bench):
    for first in (1, 301):
        admit(bench, *big(bench, first))
    clock = ManualClock()
    writer = StoreWriter(bench.ledger, bench.store, lambda: bench.registry, clock, bench.metrics)

    async def here(work, *arguments):
        return work(*arguments)

    with FullDisk(bench.ledger):
        bench.ledger._db.execute("CREATE TEMP TRIGGER fill AFTER UPDATE ON stored BEGIN"
                                 " INSERT INTO gaps SELECT hex(randomblob(9999)), '', 0, 0, 0, 0; END")  # fmt: skip
        running = asyncio.ensure_future(writer.run(here, here))
        await wait_until(lambda: sum(bench.store.count().values()) > 0)
        await clock.advance(20)
        assert not running.done(), "a full disk must not end the process"
        assert bench.reader.waiting() == 600
        bench.ledger._db.execute("DROP TRIGGER fill")
    await clock.advance(20)
    await wait_until(lambda: bench.reader.waiting() == 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert bench.reader.accounts()["edge-01"]["stored"] == 600


def test_a_restart_with_a_store_that_is_away_judges_again_only_what_no_snapshot_holds(bench, monkeypatch):
    for first in range(1, 4000, 300):
        admit(bench, *big(bench, first))
    admit(bench, bench.upload(9000, {"smoke_alarm": 1.0}, device="smoke-01"))
    bench.pipeline.rest()
    admit(bench, bench.upload(9001, {"sound_level": 51.5}))
    was, waiting = dumps(bench.pipeline.state), bench.reader.waiting()
    seen = []
    judge = Engine.evaluate

    def counted(self, state, frame, *rest):
        seen.append(len(frame))
        return judge(self, state, frame, *rest)

    monkeypatch.setattr(Engine, "evaluate", counted)
    bench.close()
    bench.open(recall=False)
    assert dumps(bench.ledger.frames.state(bench.guarded(Engine([], {})))) != {}
    assert seen == [1], "one frame came after the snapshot"
    assert dumps(bench.pipeline.state).keys() == was.keys()
    assert [m.transition.rule for m in bench.pipeline.standing()] == ["smoke_detector.fire"]
    assert bench.reader.waiting() == waiting == 14 * 300 + 2
    bench.writer.flush()
    assert bench.reader.waiting() == 0


def test_the_state_after_a_crash_is_the_state_before_it(bench):
    for n in range(40):
        admit(
            bench,
            bench.upload(
                n + 1,
                {"smoke_alarm": float(n % 7 == 3)},
                device="smoke-01",
                time=bench.clock.now_ms() - 40_000 + n * 1000,
            ),
        )
    held = dict(bench.ledger._db.execute("SELECT class, upto FROM rule_state"))
    assert held["smoke_detector"] == 0, "nothing but the start's own snapshot"
    was = dumps(bench.pipeline.state)
    bench.close()
    ledger = Ledger(bench.ledger._config)
    again = dumps(ledger.frames.state(bench.guarded(Engine(load_packs(), bench.classes))))
    ledger.close()
    bench.open()
    assert again == was


def test_a_snapshot_that_cannot_be_read_is_put_aside_and_the_rest_goes_on(bench):
    bench.deliver(bench.upload(1, {"smoke_alarm": 1.0}, device="smoke-01"))
    bench.pipeline.rest()
    bench.ledger._db.execute("UPDATE rule_state SET data = x'80' WHERE class = 'noise_monitor'")
    bench.close()
    bench.open()
    assert [m.transition.rule for m in bench.pipeline.standing()] == ["smoke_detector.fire"]
    assert bench.ledger._db.execute("SELECT class, data FROM rule_state_aside").fetchall() == [
        ("noise_monitor", b"\x80")
    ]
    bench.deliver(bench.upload(2, {"sound_level": 50.0}))
    assert bench.fates()["stored"] == 2


def test_the_boot_not_heard_of_for_longest_is_forgotten_first_over_a_restart_too(bench):
    names = [f"{7 * n % MOST_BOOTS:02}" for n in range(MOST_BOOTS)]  # not in the order of their names
    for boot in names:
        bench.deliver(bench.upload(1, {"sound_level": 50.0}, boot=boot))
    bench.deliver(bench.upload(2, {"sound_level": 50.0}, boot=names[0]))
    bench.close()
    bench.open()
    bench.deliver(bench.upload(1, {"sound_level": 50.0}, boot="new"))
    assert bench.ledger.knows("edge-01", names[0], 1)
    assert not bench.ledger.knows("edge-01", names[1], 1)
    assert bench.ledger.knows("edge-01", names[2], 1)


def fill(bench):
    """Let as much wait for the store as may; return the seq of an upload that found no room."""
    bench.ledger.frames._max_bytes = 1000
    for seq in range(1, 300):
        acks, _ = admit(bench, bench.upload(seq, {"sound_level": 50.0}))
        if not acks:
            return seq
    raise AssertionError("there was always room")


def test_what_waits_for_the_store_is_bounded_and_the_agents_keep_the_rest(bench):
    seq = fill(bench)
    assert not bench.ledger.knows("edge-01", "b", seq)
    assert bench.metrics.turned_away._value.get() == 1
    bench.writer.flush()
    bench.deliver(bench.upload(seq, {"sound_level": 50.0}))
    assert bench.ledger.knows("edge-01", "b", seq)


def smoke(bench, seq, alarm, after_s):
    time = bench.clock.now_ms() + after_s * 1000
    return bench.upload(seq, {"smoke_alarm": alarm}, device="smoke-01", time=time)


def transitions(bench):
    return [json.decode(m.payload, AlarmMessage).transition for m in bench.ledger.outbox.waiting(99)]


def test_alarms_are_told_though_nothing_more_may_wait_and_once_when_their_readings_come_again(bench):
    seq = fill(bench)
    story = [smoke(bench, seq + n, alarm, n) for n, alarm in enumerate((0.0, 1.0, 0.0, 0.0, 1.0), 1)]
    acks, news = admit(bench, *story)
    assert (acks, news) == ([], True), "told, and not acknowledged"
    assert bench.pipeline.latest["smoke-01"]["values"] == {"smoke_alarm": 1.0}
    told = transitions(bench)
    assert [t.change.value for t in told] == ["began", "ended", "began"]
    assert not any(t.retrospective for t in told)
    for _ in range(3):
        assert admit(bench, *story) == ([], False), "agents send it again"
    deed = ActionUpload(
        "edge-01", "b", 900, bench.clock.now_ms(),
        results=(CommandResult("c1", "smoke-01", CommandState.VERIFIED, bench.clock.now_ms()),),
    )  # fmt: skip
    acks, _ = admit(bench, json.encode(deed))
    assert acks[0][1].ranges == ((900, 900),), "what an agent did needs no room with the store"
    bench.writer.flush()
    acks, news = bench.deliver(*story, smoke(bench, seq + 6, 0.0, 6))
    assert acks[0][1].ranges == ((seq + 1, seq + 6),)
    assert [t.change.value for t in transitions(bench)] == ["began", "ended", "began", "ended"]
    stored = bench.store.history("smoke_detector", "smoke-01", "smoke_alarm", (0, 2**60), 0, "mean")
    assert [value for _, value, _ in stored] == [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]


def test_an_alarm_that_was_told_without_room_is_known_after_a_crash(bench):
    seq = fill(bench)
    fire = smoke(bench, seq + 1, 1.0, 1)
    admit(bench, fire)
    bench.close()
    bench.open()
    assert [m.transition.rule for m in bench.pipeline.standing()] == ["smoke_detector.fire"]
    bench.deliver(fire)
    assert [t.change.value for t in transitions(bench)] == ["began"]


def test_counts_travel_with_their_frames(bench):
    admit(
        bench,
        bench.upload(1, {"sound_level": 50.0}),
        bench.upload(2, {"smoke_alarm": 0.0}, device="smoke-01"),
    )
    rows = bench.ledger._db.execute("SELECT counts FROM frames").fetchall()
    hour = bench.clock.now_ms() // 3_600_000 * 3_600_000
    assert [counts_of(row[0]) for row in rows] == [{("edge-01", hour): 2}, {}]


def test_a_ledger_that_cannot_be_read_is_tried_again_later(tmp_path):
    config = LedgerConfig(tmp_path / "ledger.db")
    reader = LedgerReader(config)
    for make in (lambda: None, config.path.touch):  # no file, and one in which nothing is yet
        make()
        for ask in (reader.accounts, reader.waiting, lambda: reader.unannounced(0, 9)):
            with pytest.raises(Unavailable, match="ledger: "):
                ask()
