"""What became of every sample, by agent and hour: the sums close whatever comes."""

import sqlite3
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from cloud_ingest.metrics import Metrics
from telemetry.codecs import json
from telemetry.errors import Refused
from telemetry.readings import Gap, Reading, Upload

HOUR = 3_600_000
T0 = 1_764_000_000_000


def closes(hours):
    for entry in hours:
        lost = sum(gap["samples"] for gap in entry["gaps"])
        assert entry["read"] == entry["received"] + lost, entry
        assert entry["received"] == entry["stored"] + entry["waiting"] + sum(entry["quarantined"].values()), (
            entry
        )
    return hours


def test_each_hour_of_each_agent_says_where_its_samples_are(bench):
    hour = T0 - T0 % HOUR
    now = bench.clock.now_ms()
    good = Reading("noise-01", now, {"sound_level": 50.0})
    bench.deliver(json.encode(Upload("edge-01", "b", 1, T0 - HOUR, (good,))))
    bench.deliver(
        json.encode(
            Upload(
                "edge-01",
                "b",
                2,
                T0,
                (Reading("x-1", now, {"a": 1.0, "b": 2.0}), good),
                (Gap("outbox_full", 12, T0, T0),),
            )
        )
    )
    bench.deliver(
        bench.upload(2, {"sound_level": 1.0}), bench.upload(3, {"temperature": 30.0}, device="chg-01")
    )
    bench.deliver(
        bench.upload(1, {"temperature": 30.0}, device="chg-01", agent="edge-02"), agent="edge-02", store=False
    )
    told = {(e["agent"], e["hour"]): e for e in closes(bench.reader.hours((0, T0 + HOUR)))}
    assert set(told) == {("edge-01", hour - HOUR), ("edge-01", hour), ("edge-02", hour)}
    this = told["edge-01", hour]
    assert (this["read"], this["received"], this["stored"], this["duplicated"]) == (16, 4, 1, 1)
    assert this["quarantined"] == {"unknown device": 2, "device of another agent": 1}
    assert this["gaps"] == [{"cause": "outbox_full", "samples": 12, "start": T0, "end": T0}]
    assert (told["edge-02", hour]["waiting"], told["edge-02", hour]["stored"]) == (1, 0)
    assert [e["agent"] for e in bench.reader.hours((0, T0 + HOUR), "edge-02")] == ["edge-02"]
    assert [e["hour"] for e in bench.reader.hours((0, hour - 1))] == [hour - HOUR]


def test_an_answer_about_everybody_is_bounded_and_reads_of_each_only_what_was_asked_for(bench, monkeypatch):
    agents = [f"edge-{n:02}" for n in range(20)]
    with bench.ledger.transaction():
        for agent in agents:
            bench.ledger.account({(agent, T0 + n * HOUR, "received"): n for n in range(50)})
    plans = []
    connect = sqlite3.connect

    def explained(*arguments, **named):
        db = connect(*arguments, **named)
        db.set_trace_callback(plans.append)
        return db

    monkeypatch.setattr(sqlite3, "connect", explained)
    told = bench.reader.hours((T0 + 3 * HOUR, T0 + 4 * HOUR))
    assert [(e["agent"], e["received"]) for e in told] == [(agent, n) for agent in agents for n in (3, 4)]
    assert {agent: told["received"] for agent, told in bench.reader.accounts().items()} == dict.fromkeys(
        agents, sum(range(50))
    )
    monkeypatch.undo()
    asked = {statement for statement in plans if " accounts " in f"{statement} "}
    assert asked
    for statement in asked:
        steps = [row[3] for row in bench.ledger._db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert any(step.startswith("SEARCH") for step in steps), "a look at every row of every agent"
    monkeypatch.setattr("cloud_ingest.reader.MOST_HOURS", 999)
    with pytest.raises(Refused, match="name one agent"):
        bench.reader.hours((0, 2 * T0))
    assert len(bench.reader.hours((0, 2 * T0), "edge-07")) == 50


DEVICE = st.sampled_from(["noise-01", "smoke-01", "chg-01", "nobody"])
READING = st.builds(
    lambda device, values, age: Reading(device, T0 - age, values),
    DEVICE,
    st.dictionaries(
        st.sampled_from(["sound_level", "smoke_alarm", "temperature", "nonsense"]),
        st.floats(-10, 500) | st.none(),
        max_size=3,
    ),
    st.sampled_from([0, 5, HOUR, 50 * 365 * 24 * HOUR]),
)
UPLOAD = st.builds(
    lambda agent, seq, age, readings, lost: (agent, json.encode(Upload(agent, "b", seq, T0 - age, tuple(readings), tuple(Gap("disk_full", n, T0 - age, T0) for n in lost)))),
    st.sampled_from(["edge-01", "edge-02", "edge-03"]),
    st.integers(1, 6),
    st.sampled_from([0, HOUR, 7 * HOUR, 50 * 365 * 24 * HOUR]),
    st.lists(READING, max_size=4),
    st.lists(st.integers(1, 99), max_size=1),
)  # fmt: skip
STEP = st.one_of(
    st.tuples(st.just("deliver"), UPLOAD),
    st.tuples(st.just("garbage"), st.binary(max_size=20)),
    st.tuples(st.just("store"), st.none()),
    st.tuples(st.just("again"), st.none()),
)


@given(steps=st.lists(STEP, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sums_close_after_every_step_whatever_comes(bench, steps):
    for what, given_ in steps:
        if what == "deliver":
            bench.deliver(given_[1], agent=given_[0], store=False)
        elif what == "garbage":
            bench.deliver(given_, store=False)
        elif what == "store":
            bench.writer.flush()
        else:
            bench.ledger._db.execute("UPDATE quarantine SET again = 1")
            bench.pipeline.process_again()
        hours = closes(bench.reader.hours((0, 2 * T0)))
        totals = bench.reader.accounts()
        for account in ("received", "stored", "duplicated"):
            assert sum(e[account] for e in hours) == sum(told[account] for told in totals.values())
        assert sum(e["waiting"] for e in hours) == bench.reader.waiting()


def test_every_figure_is_in_the_manual():
    told = (Path(__file__).parents[2] / "docs" / "data-api.md").read_text("utf-8")
    kinds = {"counter": "_total", "gauge": "", "histogram": ""}
    found = {family.name + kinds[family.type] for family in Metrics().registry.collect()}
    assert len(found) > 12
    missing = [name for name in found if f"`{name.removeprefix('yemai_ingest_')}" not in told]
    assert missing == []
