"""What a site did by itself is merged into the cloud's record once, and doubles no alarm."""

from world import CLASSES

from rules.engine import Engine
from rules.frame import Frame
from rules.pack import load_packs
from rules.state import State
from telemetry.codecs import json
from telemetry.commands import ActionUpload, CommandResult, CommandState
from telemetry.readings import Reading


def test_the_record_keeps_each_step_once_and_the_alarm_has_one_id(bench):
    now = bench.clock.now_ms()
    reading = Reading("smoke-01", now, {"smoke_alarm": 1.0})
    frame = Frame.of([reading], CLASSES["smoke_detector"])
    _, at_the_site = Engine(load_packs(), CLASSES).evaluate(State.empty(), frame, now)
    (began,) = at_the_site
    results = tuple(
        CommandResult("link-1", "smoke-01", state, now + n, cause=began.alarm)
        for n, state in enumerate((CommandState.ACCEPTED, CommandState.EXECUTED, CommandState.VERIFIED))
    )
    record = json.encode(ActionUpload("edge-01", "b", 1, now, results=results, transitions=(began,)))
    samples = json.encode(ActionUpload("edge-01", "b", 2, now, (reading,)))
    again = json.encode(ActionUpload("edge-01", "b", 3, now, results=results, transitions=(began,)))
    acks, _ = bench.deliver(record, samples, again, record)
    assert acks[0][1].ranges == ((1, 3),)
    queued = [m.payload for m in bench.ledger.outbox.waiting(100)]
    assert len(queued) == 1, "one alarm, though edge and cloud both judged it"
    assert began.alarm.encode() in queued[0]
    told = bench.reader.actions(100, None)
    assert sorted(entry["step"] for entry in told) == ["accepted", "executed", "judged", "verified"]
    assert {entry["agent"] for entry in told} == {"edge-01"}
    assert {e["body"]["cause"] for e in told if e["step"] != "judged"} == {began.alarm}
    assert bench.reader.actions(100, "chg-01") == []
    assert bench.fates()["received"] == 1
