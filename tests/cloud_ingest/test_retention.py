"""What the ledger keeps for people goes back as far as it is told to, and what it drops stalls nothing."""

import pytest

from cloud_ingest.config import LedgerConfig
from cloud_ingest.ledger import Ledger
from telemetry.codecs import json
from telemetry.commands import ActionUpload, CommandResult, CommandState
from telemetry.readings import Gap

DAY, HOUR = 86_400_000, 3_600_000
NOW = 1_764_000_000_000


@pytest.fixture
def ledger(tmp_path):
    here = Ledger(LedgerConfig(tmp_path / "ledger.db", kept_days=40))
    yield here
    here.close()


def count(ledger, table):
    return ledger._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_accounts_of_every_agent_go_back_as_far_as_is_told_and_the_newer_ones_stay(ledger):
    agents = [f"edge-{n:03}" for n in range(50)]
    with ledger.transaction():
        for agent in agents:
            ledger.account({(agent, NOW - days * DAY, "received"): days for days in range(100)})
    before, rounds = count(ledger, "accounts"), 0
    while count(ledger, "accounts") > 50 * 41 and rounds < 30:
        rounds += 1
        ledger.prune(NOW)
        gone, before = before - count(ledger, "accounts"), count(ledger, "accounts")
        assert gone <= 20 * 31, "a portion, and not all at once"
    for agent in agents:
        days = ledger._db.execute("SELECT samples FROM accounts WHERE agent = ?", (agent,)).fetchall()
        assert sorted(samples for (samples,) in days) == list(range(41))
    ledger.prune(NOW)
    assert count(ledger, "accounts") == 50 * 41


def test_gaps_go_by_when_they_were_told_a_portion_at_a_time(ledger):
    with ledger.transaction():
        for days in (90, 1):
            for _ in range(1500):
                ledger.note_gap("edge-01", Gap("outbox_full", 1, 5, 6), NOW - days * DAY)
    ledger.prune(NOW)
    assert count(ledger, "gaps") == 2000
    for _ in range(3):
        ledger.prune(NOW)
    assert count(ledger, "gaps") == 1500


@pytest.mark.parametrize("wrong", [NOW + 900 * DAY, 2**61, 5, -5])
def test_a_deed_of_an_agent_whose_clock_is_wrong_is_kept_from_when_it_was_told_and_not_for_ever(bench, wrong):
    now = bench.clock.now_ms()
    result = CommandResult("link-1", "smoke-01", CommandState.EXECUTED, wrong)
    bench.deliver(json.encode(ActionUpload("edge-01", "b", 1, now, results=(result,))))
    bench.ledger.prune(now + 399 * DAY)
    assert [entry["at_ms"] for entry in bench.reader.actions(9, None)] == [now]
    assert bench.reader.actions(9, None)[0]["body"]["time"] == wrong, "what it said stays beside it"
    bench.ledger.prune(now + 401 * DAY)
    assert bench.reader.actions(9, None) == []


def test_what_an_earlier_program_kept_with_a_date_in_the_future_goes_as_well(ledger):
    with ledger.transaction():
        ledger._db.execute(
            "INSERT INTO actions VALUES ('a', 'executed', 'e', 'd', ?, '{}')", (NOW + 9000 * DAY,)
        )
    ledger.prune(NOW)
    assert count(ledger, "actions") == 1
    ledger.prune(NOW + 41 * DAY)
    assert count(ledger, "actions") == 0


def test_deeds_go_by_when_they_were_done(bench):
    now = bench.clock.now_ms()
    for seq, age in enumerate((399, 0), 1):
        result = CommandResult(f"link-{age}", "smoke-01", CommandState.EXECUTED, now - age * DAY)
        bench.deliver(json.encode(ActionUpload("edge-01", "b", seq, now, results=(result,))))
    bench.ledger.prune(now)
    assert len(bench.reader.actions(9, None)) == 2
    bench.ledger.prune(now + 2 * DAY)
    assert [entry["id"] for entry in bench.reader.actions(9, None)] == ["link-0"]
