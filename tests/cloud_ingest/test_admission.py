"""Every sample has a fate, and bad input blocks nobody."""

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from cloud_ingest.admission import AHEAD_MS, identity
from cloud_ingest.source import Delivery
from telemetry.codecs import json
from telemetry.quality import Quality
from telemetry.readings import MAX_UPLOAD_BYTES, Gap, Reading, Upload


def reasons(bench):
    return [entry["reason"] for entry in bench.reader.quarantine(100)]


def test_a_good_upload_is_stored_and_acknowledged(bench):
    acks, alarms = bench.deliver(bench.upload(1, {"sound_level": 50.0}))
    assert [(agent, ack.boot, ack.ranges) for agent, ack in acks] == [("edge-01", "b", ((1, 1),))]
    assert not alarms
    assert bench.fates() == {"received": 1, "stored": 1, "quarantined": 0, "duplicated": 0}
    assert bench.pipeline.latest["noise-01"]["values"] == {"sound_level": 50.0}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": "noise-99"}, "unknown device"),
        ({"device": "chg-01", "values": {"temperature": 30.0}}, "device of another agent"),
        ({"values": {"loudness": 50.0}}, "unknown metric"),
        ({"time": 0}, "impossible time"),
        ({"time": 1_764_000_000_000 + AHEAD_MS + 1}, "impossible time"),
        ({"time": 1_764_000_000_000 + 365 * 86_400_000}, "impossible time"),
    ],
)
def test_what_cannot_be_admitted_waits_in_quarantine_with_its_bytes(bench, change, reason):
    payload = bench.upload(1, **{"values": {"sound_level": 50.0}, **change})
    acks, _ = bench.deliver(payload, bench.upload(2, {"sound_level": 51.0}))
    (entry,) = bench.reader.quarantine(10)
    assert (entry["reason"], entry["samples"], entry["agent"]) == (reason, 1, "edge-01")
    assert "device" in entry["text"]
    assert acks[0][1].ranges == ((1, 2),), "it is acknowledged, so that it blocks nobody"
    assert bench.fates() == {"received": 2, "stored": 1, "quarantined": 1, "duplicated": 0}


def test_an_upload_with_nothing_that_its_class_knows_stops_nobody(bench):
    bench.deliver(bench.upload(1, {"loudness": 50.0}))
    bench.deliver(bench.upload(2, {"sound_level": 50.0}))
    assert reasons(bench) == ["unknown metric"]
    assert bench.fates() == {"received": 2, "stored": 1, "quarantined": 1, "duplicated": 0}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x00\xffgarbage", "malformed"),
        (b'{"agent": "edge-01", "boot": "b", "se', "malformed"),
        (b"{" + b" " * (10 * 1024 * 1024) + b"}", "too large"),
        (b"", "malformed"),
    ],
)
def test_garbage_waits_in_quarantine_and_the_rest_flows_on(bench, payload, reason):
    bench.deliver(payload, bench.upload(1, {"sound_level": 50.0}))
    assert reasons(bench) == [reason]
    assert bench.fates()["stored"] == 1


def test_a_wrong_type_is_quarantined_whole_and_still_acknowledged(bench):
    payload = b'{"agent":"edge-01","boot":"b","seq":7,"sent":0,"readings":[{"device":"noise-01","time":1,"values":{"sound_level":"loud","x":1}}]}'
    acks, _ = bench.deliver(payload)
    assert acks[0][1].ranges == ((7, 7),)
    (entry,) = bench.reader.quarantine(10)
    assert (entry["reason"], entry["samples"], entry["text"]) == ("malformed", 2, payload.decode())


def test_nobody_speaks_in_anothers_name(bench):
    bench.deliver(bench.upload(1, {"temperature": 20.0}, device="chg-01", agent="edge-02"), agent="edge-01")
    assert reasons(bench) == ["wrong agent"]
    assert bench.reader.accounts()["edge-01"]["quarantined"] == {"wrong agent": 1}


def test_an_implausible_value_is_kept_and_not_believed(bench):
    _, alarms = bench.deliver(bench.upload(1, {"sound_level": 900.0}))
    now = bench.clock.now_ms()
    assert bench.store.history("noise_monitor", "noise-01", "sound_level", (0, now), 0, "mean") == [
        (now, 900.0, Quality.IMPLAUSIBLE)
    ]
    assert not alarms


def test_no_value_that_claims_to_be_good_is_a_fault(bench):
    bench.deliver(bench.upload(1, {"sound_level": None}))
    ((_, value, quality),) = bench.store.history(
        "noise_monitor", "noise-01", "sound_level", (0, 2**60), 0, "mean"
    )
    assert (value, quality) == (None, Quality.DEVICE_FAULT)


def test_an_upload_that_comes_again_is_stored_once_judged_once_and_acknowledged_again(bench):
    fire = bench.upload(1, {"smoke_alarm": 1.0}, device="smoke-01")
    bench.deliver(fire, fire)
    acks, alarms = bench.deliver(fire)
    assert acks[0][1].ranges == ((1, 1),)
    assert not alarms
    assert bench.fates() == {"received": 1, "stored": 1, "quarantined": 0, "duplicated": 2}
    assert bench.ledger.outbox.counters().messages == 1


def test_two_uploads_for_the_same_sample_still_close_the_count(bench):
    now = bench.clock.now_ms()
    bench.deliver(bench.upload(1, {"sound_level": 50.0}, time=now))
    bench.deliver(bench.upload(2, {"sound_level": 51.0}, time=now))
    bench.deliver(
        bench.upload(3, {"sound_level": 52.0}, time=now), bench.upload(4, {"sound_level": 53.0}, time=now)
    )
    assert sum(bench.store.count().values()) == 1
    assert bench.fates()["stored"] == 4


def test_an_agents_own_losses_are_accounted(bench):
    bench.deliver(json.encode(Upload("edge-01", "b", 1, 0, gaps=(Gap("outbox_full", 12, 5, 9),))))
    assert bench.reader.accounts()["edge-01"]["gaps"] == [
        {"cause": "outbox_full", "samples": 12, "start": 5, "end": 9}
    ]


def test_a_restart_forgets_neither_marks_nor_alarms(bench):
    fire = bench.upload(1, {"smoke_alarm": 1.0}, device="smoke-01")
    bench.deliver(fire)
    boot = bench.ledger.outbox.boot
    bench.close()
    bench.open()
    assert bench.ledger.outbox.boot == boot
    _, alarms = bench.deliver(fire)
    assert not alarms
    assert [message.transition.rule for message in bench.pipeline.standing()] == ["smoke_detector.fire"]
    assert bench.pipeline.latest["smoke-01"]["values"] == {"smoke_alarm": 1.0}


def test_quarantine_is_bounded_and_what_it_gives_up_is_counted(bench):
    bench.ledger._config = type(bench.ledger._config)(bench.folder / "ledger.db", quarantine_bytes=1000)
    for _ in range(10):
        bench.deliver(b"x" * 300)
    assert len(bench.reader.quarantine(100)) == 3
    assert bench.reader.accounts()["edge-01"]["quarantine_evicted"] == 0, (
        "nobody can tell how many samples garbage holds"
    )


good = json.encode(
    Upload(
        "edge-01",
        "b",
        5,
        0,
        (
            Reading("noise-01", 1_764_000_000_000, {"sound_level": 50.0}),
            Reading("smoke-01", 1_764_000_000_000, {"smoke_alarm": 1.0}),
        ),
    )
)


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_payloads_are_a_value_a_quality_or_a_quarantine_entry(bench, data):
    mutated = bytearray(good)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        mutated[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    before, held = bench.fates(), bench.ledger._db.execute("SELECT count(*) FROM quarantine").fetchone()[0]
    bench.deliver(bytes(mutated))
    after, now_held = bench.fates(), bench.ledger._db.execute("SELECT count(*) FROM quarantine").fetchone()[0]
    assert (
        after["received"] - before["received"]
        == after["stored"] - before["stored"] + after["quarantined"] - before["quarantined"]
    )
    came_before = identity(Delivery("edge-01", "", bytes(mutated), 0, None))
    assert (
        after != before
        or now_held > held
        or bench.ledger.knows(came_before.agent, came_before.boot, came_before.seq)
    )
    assert len(mutated) < MAX_UPLOAD_BYTES
