"""Turns: what happens now goes first, nobody takes the others' part, and nothing that waits is lost."""

import asyncio
import contextlib
from collections import Counter

import aiomqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import wait_until
from world import Bench

from cloud_ingest.app import _thread
from cloud_ingest.config import load_config
from cloud_ingest.flow import Flow
from cloud_ingest.source import Delivery
from cloud_ingest.turns import FEW, LIVE_MS, MOST_OF_AGENT, Lane, Pace, Turns
from telemetry import topics
from telemetry.clock import SystemClock
from telemetry.codecs import json
from telemetry.commands import ActionUpload, CommandResult, CommandState
from telemetry.errors import Unavailable
from telemetry.readings import Reading, Upload

NOW = 1_764_000_000_000
AGENTS = [f"edge-{n}" for n in range(10)]
DEVICES_CSV = "device,name_zh,name_en,profile,agent,site,lon,lat,owner\n" + "".join(
    f"s{n},感烟,Smoke,calectro_uniguard,edge-{n},s01,115.92,31.85,消防\n" for n in range(len(AGENTS))
)


def an_upload(agent, seq, *, at=NOW, smoke=0.0, padding=""):
    readings = (Reading(f"s{agent[5:]}", at, {"smoke_alarm": smoke, "fault": 0.0}, {}, {"note": padding}),)
    return Delivery(agent, "", json.encode(Upload(agent, "b", seq, at, readings)), NOW, None)


def seqs(deliveries, agent):
    told = [json.decode(d.payload, Upload) for d in deliveries if d.agent == agent]
    return [upload.seq for upload in told]


def play(turns, arrived, row=1):
    plan = turns.plan(arrived, NOW, {})
    turns.settle(plan, row)
    return plan


def crowd(of_first, of_each):
    """Uploads of one agent among those of nine others, the many before the few."""
    return [
        *(an_upload(AGENTS[0], seq) for seq in range(1, of_first + 1)),
        *(an_upload(agent, seq) for seq in range(1, of_each + 1) for agent in AGENTS[1:]),
    ]


def test_beyond_its_share_an_agent_waits_for_all_others():
    turns = Turns()
    plan = play(turns, crowd(300, 3))
    assert all(seqs(plan.now, agent) == [1, 2, 3] for agent in AGENTS[1:])
    assert seqs(plan.now, AGENTS[0]) == list(range(1, 13)), "four times what the middle one has"
    assert turns.count(Lane.EXCESS) == 288
    plan = play(turns, [an_upload(AGENTS[0], 301), an_upload(AGENTS[1], 4)], 2)
    assert seqs(plan.now, AGENTS[1]) == [4]
    assert 301 not in seqs(plan.now, AGENTS[0]), "its own come in their order"
    rest = []
    while turns.waiting:
        plan = turns.next(50)
        rest += seqs(plan.now, AGENTS[0])
        turns.settle(plan, 0)
    assert rest == list(range(13 + FEW, 302)), "in a small turn it may have as many as are no burden"


def test_alone_or_among_few_nobody_waits():
    turns = Turns()
    assert not play(turns, [an_upload(AGENTS[0], seq) for seq in range(1, 900)]).hold
    assert not play(turns, crowd(FEW - 9, 1)).hold


def test_history_waits_for_what_happens_now_and_only_for_that():
    turns, old = Turns(), NOW - LIVE_MS - 1
    history = [an_upload(AGENTS[n % 2], n // 2 + 1, at=old) for n in range(200)]
    plan = play(turns, [*history, an_upload(AGENTS[1], 900), an_upload(AGENTS[2], 1)])
    assert [(d.agent, seqs([d], d.agent)) for d in plan.now] == [(AGENTS[1], [900]), (AGENTS[2], [1])]
    plan = turns.next(100)
    assert seqs(plan.now, AGENTS[0]) == seqs(plan.now, AGENTS[1]) == list(range(1, 51))
    assert not Turns().plan(history, NOW, {}).hold, "there is nobody to wait for"


def test_a_clock_that_is_wrong_and_known_to_be_makes_no_history():
    slow = [an_upload(AGENTS[0], seq, at=NOW - 3_600_000) for seq in range(1, 100)]
    plan = Turns().plan([*slow, an_upload(AGENTS[1], 1)], NOW, {AGENTS[0]: 3_600_000})
    assert all(held.lane is Lane.EXCESS for held in plan.hold)


def test_what_an_agent_did_does_not_wait_behind_its_excess():
    turns = Turns()
    play(turns, crowd(300, 3))
    result = CommandResult("c1", "s0", CommandState.VERIFIED, NOW)
    deed = Delivery(
        AGENTS[0], "", json.encode(ActionUpload(AGENTS[0], "b", 900, NOW, results=(result,))), NOW, None
    )
    plan = play(turns, [*crowd(0, 10), an_upload(AGENTS[0], 901), deed], 2)
    assert 900 in seqs(plan.now, AGENTS[0])
    assert 901 not in seqs(plan.now, AGENTS[0])


def test_a_copy_of_what_waits_is_neither_kept_nor_committed_twice():
    turns = Turns()
    play(turns, crowd(300, 3))
    plan = play(turns, [an_upload(AGENTS[0], 200), *crowd(0, 10)], 2)
    assert seqs(plan.copies, AGENTS[0]) == [200]
    assert turns.count(Lane.EXCESS) == 300 - 12 - 40


def test_who_has_more_on_its_way_than_any_window_keeps_the_rest_itself():
    turns, most = Turns(), MOST_OF_AGENT // 100_000
    many = [an_upload(AGENTS[0], seq, padding="x" * 100_000) for seq in range(1, most + 100)]
    plan = play(turns, [*many, *crowd(0, 3)])
    assert plan.turned_away
    assert turns.bytes_of(AGENTS[0]) <= MOST_OF_AGENT
    assert not [d for d in plan.turned_away if d.agent != AGENTS[0]]


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(AGENTS[:4]), st.booleans(), st.integers(1, 60)), max_size=12),
        max_size=6,
    ),
    st.integers(1, 40),
)
def test_every_upload_has_its_turn_once_and_in_order(arrivals, at_once):
    turns, next_seq, done = Turns(), Counter(), []
    sent = Counter()
    for row, bursts in enumerate(arrivals, 1):
        arrived = []
        for agent, is_old, count in bursts:
            for _ in range(count):
                next_seq[agent] += 1
                sent[agent, is_old] += 1
                arrived.append(an_upload(agent, next_seq[agent], at=NOW - is_old * 2 * LIVE_MS))
        done += play(turns, arrived, row).now
        plan = turns.next(at_once)
        assert len(plan.now) <= at_once
        turns.settle(plan, 0)
        done += plan.now
    rows = set()
    while turns.waiting:
        plan = turns.next(at_once)
        rows |= set(plan.emptied)
        turns.settle(plan, 0)
        done += plan.now
    assert turns.nbytes == 0
    told = [json.decode(delivery.payload, Upload) for delivery in done]
    for agent, is_old in sent:
        mine = [u.seq for u in told if u.agent == agent and (u.sent != NOW) == is_old]
        assert len(mine) == sent[agent, is_old]
        assert mine == sorted(mine)


def test_pace_follows_what_turns_take():
    pace = Pace(32, 1000)
    for _ in range(20):
        pace.took(100, 0.01)
    assert pace.within(0.05) == pytest.approx(500, rel=0.05)
    for _ in range(20):
        pace.took(100, 10.0)
    assert pace.within(0.05) == 32


# -- with its ledger ---------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr("world.DEVICES", DEVICES_CSV)
    here = Bench(tmp_path)
    yield here
    here.close()


def uploads_now(bench, deliveries):
    now = bench.clock.now_ms()
    again = []
    for delivery in deliveries:
        told = json.decode(delivery.payload, Upload)
        again.append(an_upload(told.agent, told.seq, at=now + told.seq))
    return again


def held_rows(bench):
    return bench.ledger._db.execute("SELECT count(*) FROM held").fetchone()[0]


def test_what_waits_outlives_the_process_and_is_committed_once(bench):
    acks, _ = bench.pipeline.process(uploads_now(bench, crowd(300, 3)))
    assert dict(acks)[AGENTS[0]].ranges == ((1, 12),), "what waits is not acknowledged"
    bench.pipeline.process_held(0.01)
    assert held_rows(bench) == 1
    bench.close()
    bench.open()
    while bench.pipeline._turns.waiting:
        acks, _ = bench.pipeline.process_held(0.05)
    assert dict(acks)[AGENTS[0]].ranges == ((1, 300),)
    assert held_rows(bench) == 0
    bench.writer.flush()
    assert bench.reader.accounts()[AGENTS[0]]["received"] == 600
    assert sum(bench.store.count().values()) == 2 * (300 + 9 * 3)


@pytest.mark.parametrize("seq", [0, 2**62, 2**70])
def test_a_number_that_no_outbox_can_have_given_is_refused_and_not_written_down_to_wait(bench, seq):
    strange = an_upload(AGENTS[1], seq, at=bench.clock.now_ms() - LIVE_MS - 1)
    bench.pipeline.process([*uploads_now(bench, crowd(300, 3)), strange])
    while bench.pipeline._turns.waiting:
        bench.pipeline.process_held(0.05)
    assert bench.reader.accounts()[AGENTS[1]]["quarantined"] == {"impossible seq": 2}
    assert bench.reader.accounts()[AGENTS[0]]["received"] == 600


def test_a_disk_that_refuses_leaves_everything_waiting(bench, monkeypatch):
    arrived = uploads_now(bench, crowd(300, 3))

    def full(*_):
        raise Unavailable("full")

    with monkeypatch.context() as away:
        away.setattr(bench.ledger.frames, "append", full)
        with pytest.raises(Unavailable):
            bench.pipeline.process(arrived)
    assert held_rows(bench) == 0
    assert not bench.pipeline._turns.waiting
    bench.pipeline.process(arrived)
    before = bench.pipeline._turns.count(Lane.EXCESS)
    with monkeypatch.context() as away:
        away.setattr(bench.ledger.frames, "append", full)
        with pytest.raises(Unavailable):
            bench.pipeline.process_held(0.05)
    assert bench.pipeline._turns.count(Lane.EXCESS) == before == 288


# -- with its broker ---------------------------------------------------------------------------------------


async def test_others_are_never_behind_more_than_a_share_of_an_agent_at_a_hundred_times_its_rate(
    bench, mosquitto, tmp_path
):
    config = tmp_path / "ingest.toml"
    config.write_text(
        f'area = "test"\nproducer = "ingest-1"\nbroker = {{ host = "127.0.0.1", port = {mosquitto.port} }}\n'
        'ledger = { path = "unused.db" }\nstore = { path = "unused.duckdb" }\n'
        'registry = { devices = "devices.csv", sites = "sites.csv" }\n'
    )
    loaded = load_config(config)
    now, committed = bench.clock.now_ms(), []
    judge = bench.pipeline._admit

    def watched(batch, *more):
        committed.extend(batch)
        return judge(batch, *more)

    bench.pipeline._admit = watched
    with contextlib.ExitStack() as resources:
        on_thread = _thread(resources, "ledger")
        async with loaded.source.Source(loaded, SystemClock()) as source:
            await wait_until(lambda: not source.problem())
            async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
                for block in range(10):
                    for n in range(100):
                        seq = 100 * block + n + 1
                        smoke = float(seq > 900)
                        await client.publish(
                            topics.up("test", AGENTS[0]),
                            an_upload(AGENTS[0], seq, at=now + seq, smoke=smoke).payload, 1,
                        )  # fmt: skip
                    for agent in AGENTS[1:]:
                        smoke = float(block == 9 and agent == AGENTS[9])
                        await client.publish(
                            topics.up("test", agent), an_upload(agent, block + 1, at=now + block, smoke=smoke).payload, 1
                        )  # fmt: skip
            await wait_until(lambda: source.waiting() == 1090, 20, "all uploads to reach the source")
            flow = Flow(bench.pipeline, source, SystemClock(), bench.metrics)
            running = asyncio.ensure_future(flow.run(on_thread, lambda _: None))
            await wait_until(lambda: bench.ledger.knows(AGENTS[0], "b", 1000), 30, "the last to be committed")
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    order = [delivery.agent for delivery in committed]
    assert Counter(order) == {AGENTS[0]: 1000, **dict.fromkeys(AGENTS[1:], 10)}
    last_other = max(place for place, agent in enumerate(order) if agent != AGENTS[0])
    assert order[:last_other].count(AGENTS[0]) < 400, (
        "two shares and one turn of what waits, of a thousand that came before"
    )
    assert order[:110].count(AGENTS[0]) <= 40, "in the first turn its share"
    assert seqs(committed, AGENTS[0]) == list(range(1, 1001))
    told = [(m.transition.device, m.transition.retrospective) for m in bench.pipeline.standing()]
    assert told == [("s9", False), ("s0", False)], "the others' alarm first, and its own is judged as well"
