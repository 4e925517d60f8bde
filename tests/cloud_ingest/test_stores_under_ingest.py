"""The whole of ingest but the broker over each store: replays, points that a store refuses, a store that is away."""

import hashlib
import random
import urllib.parse
import urllib.request
import uuid

import pytest
from conftest import missing
from databases import InfluxDB
from world import CLASSES, Bench

from cloud_ingest.stores import influxdb as influx_store
from telemetry.codecs import json
from telemetry.errors import Unavailable
from telemetry.readings import Reading, Upload

HOUR_MS = 3_600_000
AGENTS = 10
DEVICES_CSV = "device,name_zh,name_en,profile,agent,site,lon,lat,owner\n" + "".join(
    f"d{n},噪声,Noise,sonbest_sm7901b,edge-{n},s01,115.92,31.85,市政\n"
    f"s{n},感烟,Smoke,calectro_uniguard,edge-{n},s01,115.92,31.85,消防\n"
    for n in range(AGENTS)
)


@pytest.fixture(scope="module")
def influxdb(tmp_path_factory):
    server = InfluxDB(tmp_path_factory.mktemp("influxdb")) if InfluxDB.find() else None
    if server:
        server.start()
    yield server
    if server:
        server.stop()


@pytest.fixture(params=["duckdb", "influxdb"])
def bench(request, tmp_path, influxdb):
    if request.param == "influxdb" and influxdb is None:
        missing("influxd", "apt install influxdb")
    database = f"t{uuid.uuid4().hex}"

    def store():
        link = influx_store.Config(influxdb.url, database, timeout_s=30)
        return influx_store.Store(link, CLASSES, lambda _: {"area": "test"})

    here = Bench(tmp_path, store if request.param == "influxdb" else None)
    here.database = database
    yield here
    here.close()


def an_hour(agent, boot, now):
    """An hour of one agent in uploads of a minute; a fire in the middle of it."""
    begin = now - HOUR_MS
    uploads = []
    for minute in range(60):
        readings = tuple(
            reading
            for second in (0, 30)
            for at in (begin + minute * 60_000 + second * 1000,)
            for reading in (
                Reading(f"d{agent}", at, {"sound_level": 40.0 + (minute * 7 + agent) % 30}),
                Reading(f"s{agent}", at, {"smoke_alarm": float(minute == 30), "fault": 0.0}),
            )
        )
        uploads.append(
            json.encode(Upload(f"edge-{agent}", boot, minute + 1, begin + minute * 60_000, readings))
        )
    return uploads


def rows_and_checksum(store, now):
    digest = hashlib.sha256()
    for n in range(AGENTS):
        for device_class, device, metric in (
            ("noise_monitor", f"d{n}", "sound_level"),
            ("smoke_detector", f"s{n}", "smoke_alarm"),
        ):
            digest.update(
                repr(
                    store.history(device_class, device, metric, (now - 2 * HOUR_MS, now), 0, "mean")
                ).encode()
            )
    return store.count(), digest.hexdigest()


def test_ten_agents_that_replay_the_same_hour_ten_times_change_nothing(bench, monkeypatch):
    monkeypatch.setattr("world.DEVICES", DEVICES_CSV)
    bench.close()
    bench.__init__(bench.folder, bench.make_store)
    now, dice = bench.clock.now_ms(), random.Random(3)

    def replay(boot):
        for agent in range(AGENTS):
            hour = an_hour(agent, boot, now)
            if boot != "b" or replays:
                dice.shuffle(hour)
            bench.deliver(*hour, agent=f"edge-{agent}", store=False)
        bench.writer.flush()

    replays = 0
    replay("b")
    once = rows_and_checksum(bench.store, now)
    assert sum(once[0].values()) == AGENTS * 60 * 2 * 3
    alarms = bench.ledger.outbox.counters().messages
    assert alarms >= AGENTS
    for replays in range(1, 10):
        replay("b")
        if replays == 5:
            bench.close()
            bench.open()
    assert rows_and_checksum(bench.store, now) == once
    assert bench.ledger.outbox.counters().messages == alarms, "rules were not run twice"
    assert bench.fates("edge-3")["duplicated"] == 9 * 60 * 6
    replay("another boot: the outbox was lost, the samples are the same")
    assert rows_and_checksum(bench.store, now) == once
    told = bench.reader.accounts()["edge-3"]
    assert told["received"] == told["stored"] == 2 * 60 * 6
    if bench.make_store == bench.duckdb:
        assert told["overwritten"] == 60 * 6


def write_raw(url, database, line):
    query = urllib.parse.urlencode({"db": database, "precision": "ms"})
    urllib.request.urlopen(f"{url}/write?{query}", line.encode(), timeout=10).close()


@pytest.mark.parametrize("bench", ["influxdb"], indirect=True)
def test_a_field_of_another_type_costs_its_point_and_no_other(bench, influxdb):
    """Somebody else has written ``fault`` as a text: every point with that field is refused for ever."""
    bench.store.check()
    now = bench.clock.now_ms()
    write_raw(influxdb.url, bench.database, f'smoke_detector,device=other fault="no" {now}')
    uploads = [
        bench.upload(
            n + 1,
            {"smoke_alarm": 0.0, **({"fault": 0.0} if n == 137 else {})},
            device="smoke-01",
            time=now - 300_000 + n * 1000,
        )
        for n in range(300)
    ]
    acks, _ = bench.deliver(*uploads)
    assert acks[0][1].ranges == ((1, 300),)
    (entry,) = bench.reader.quarantine(10)
    assert (entry["reason"], entry["samples"], entry["agent"]) == ("refused by the store", 2, "edge-01")
    assert "fault" in entry["detail"]
    assert "type" in entry["detail"]
    assert f"{now - 300_000 + 137_000}" in entry["text"]
    stored = bench.store.history("smoke_detector", "smoke-01", "smoke_alarm", (0, 2**60), 0, "mean")
    assert len(stored) == 299
    told = bench.reader.accounts()["edge-01"]
    assert (told["received"], told["stored"], told["quarantined"]) == (301, 299, {"refused by the store": 2})


def test_a_store_that_is_away_holds_no_alarm_back_and_gets_everything_later(bench, monkeypatch):
    def away(*_):
        raise Unavailable("no answer")

    with monkeypatch.context() as gone:
        gone.setattr(bench.store, "write", away)
        for seq in range(1, 200):
            acks, alarms = bench.deliver(
                bench.upload(
                    seq,
                    {"smoke_alarm": float(seq == 100)},
                    device="smoke-01",
                    time=bench.clock.now_ms() - 200_000 + seq * 1000,
                ),
                store=False,
            )
            assert alarms == (seq in (100, 101)), "it begins and ends while the store is away"
            assert acks[0][1].ranges == ((1, seq),)
        with pytest.raises(Unavailable):
            bench.writer.flush()
    bench.writer.flush()
    assert bench.reader.waiting() == 0
    assert bench.fates()["stored"] == 199
