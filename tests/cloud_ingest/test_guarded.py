"""A rule that breaks, or a duty, costs itself: all others go on, it is seen on the desk, and tried again."""

import asyncio
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from test_judging import LOUD, write
from world import CLASSES, Bench

from cloud_ingest.app import _recall
from cloud_ingest.config import LedgerConfig
from cloud_ingest.duties import Duties
from cloud_ingest.guarded import MANY, REST_S
from cloud_ingest.judging import Packs
from cloud_ingest.wellbeing import Wellbeing
from rules.engine import Engine
from rules.frame import Frame
from rules.judge import Judge
from rules.outage import Outages
from rules.silence import Silence
from rules.state import Journal, State
from telemetry.broker import BrokerConfig
from telemetry.errors import Unavailable
from telemetry.faults import KEPT_S
from telemetry.readings import Reading

T0 = 1_764_000_000_000
QUIET = """
  - id: noise_monitor.still
    title: {zh: 静, en: Still}
    metric: sound_level
    category: warning
    above: {blue: 55}
    source: of the district
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    write(folder, LOUD % 60 + QUIET)
    monkeypatch.setattr("world.Engine", lambda _, classes: Packs(folder, classes).engine())
    one = Bench(tmp_path)
    yield one
    one.close()


def breaks(monkeypatch, rule, *, devices=None):
    """Let a rule fail as a fault in it would, in the middle of its work; return the devices of each call."""
    calls, whole = [], Judge.evaluate

    def failing(self, part, batch, world, now_ms):
        found = whole(self, part, batch, world, now_ms)
        if self.key == rule:
            calls.append(batch.frame.devices)
            if devices is None or not set(devices).isdisjoint(batch.frame.devices):
                raise IndexError("index 7 is out of bounds for axis 0 with size 7")
        return found

    monkeypatch.setattr(Judge, "evaluate", failing)
    return calls


def frame(values, at=T0):
    readings = [Reading(f"d{n}", at + n, {"sound_level": value}) for n, value in enumerate(values)]
    return Frame.of(readings, CLASSES["noise_monitor"])


def told(found):
    return sorted((t.rule, t.device, t.change.value) for t in found)


def test_a_rule_that_breaks_at_one_device_judges_all_others_and_all_others_judge_that_one(bench, monkeypatch):
    guarded = bench.guarded(bench.pipeline._engine.engine)
    whole, wanted = bench.pipeline._engine.engine.evaluate(State.empty(), frame([70.0] * 9), T0)
    breaks(monkeypatch, "noise_monitor.loud", devices={"d4"})
    with capture_logs() as logs:
        state, found = guarded.evaluate(State.empty(), frame([70.0] * 9), T0, Journal())
    assert told(found) == [one for one in told(wanted) if one[:2] != ("noise_monitor.loud", "d4")]
    assert [(line["part"], line["device"]) for line in logs] == [("noise_monitor.loud", "d4")]
    mine, theirs = (s.classes["noise_monitor"].rules["noise_monitor.loud"] for s in (state, whole))
    at = state.classes["noise_monitor"].devices["d4"]
    assert mine.take("judged", at) == -1, "what it had begun to remember of that one is undone"
    assert [mine.take("judged", n) for n in range(9) if n != at] == [
        theirs.take("judged", n) for n in range(9) if n != at
    ]


def test_a_rule_that_breaks_at_three_of_a_thousand_judges_the_others_and_does_not_look_for_those_again(
    bench, monkeypatch
):
    guarded, broken = bench.guarded(bench.pipeline._engine.engine), {"d4", "d500", "d999"}
    _, wanted = guarded.engine.evaluate(State.empty(), frame([70.0] * 1000), T0)
    calls = breaks(monkeypatch, "noise_monitor.loud", devices=broken)
    with capture_logs() as logs:
        state, found = guarded.evaluate(State.empty(), frame([70.0] * 1000), T0, Journal())
    judged = [one for one in told(wanted) if one[0] != "noise_monitor.loud" or one[1] not in broken]
    assert told(found) == judged
    assert [(line["part"], line["devices"]) for line in logs] == [("noise_monitor.loud", "3")]
    assert len(calls) < 100
    calls.clear()
    state, found = guarded.evaluate(state, frame([50.0] * 1000, T0 + 1000), T0, Journal())
    assert told(found) == [(rule, device, "ended") for rule, device, _ in judged]
    assert [len(devices) for devices in calls] == [997], "without the three from the start, and nothing fails"


def test_a_device_at_which_a_rule_broke_is_judged_again_after_a_minute(bench, monkeypatch):
    guarded = bench.guarded(bench.pipeline._engine.engine)
    breaks(monkeypatch, "noise_monitor.loud", devices={"d4"})
    state, _ = guarded.evaluate(State.empty(), frame([70.0] * 9), T0, Journal())
    monkeypatch.undo()
    state, found = guarded.evaluate(state, frame([70.0] * 9, T0 + 1000), T0, Journal())
    assert found == []
    bench.clock._monotonic += REST_S
    state, found = guarded.evaluate(state, frame([70.0] * 9, T0 + 2000), T0, Journal())
    assert told(found) == [("noise_monitor.loud", "d4", "began")]
    calls = breaks(monkeypatch, "noise_monitor.loud", devices=())
    guarded.evaluate(state, frame([70.0] * 9, T0 + 3000), T0, Journal())
    assert [len(devices) for devices in calls] == [9], "in one go with all others"


def test_rules_that_break_at_devices_of_their_own_each_judge_all_others(bench, monkeypatch):
    guarded = bench.guarded(bench.pipeline._engine.engine)
    breaks(monkeypatch, "noise_monitor.loud", devices={"d1", "d2"})
    breaks(monkeypatch, "noise_monitor.still", devices={"d2", "d3"})
    missing = {("noise_monitor.loud", "d1"), ("noise_monitor.loud", "d2")}
    missing |= {("noise_monitor.still", "d2"), ("noise_monitor.still", "d3")}
    rules = ("noise_monitor.loud", "noise_monitor.still")
    wanted = sorted({(rule, f"d{n}") for rule in rules for n in range(9)} - missing)
    state = State.empty()
    for at, value, change in ((T0, 70.0, "began"), (T0 + 1000, 50.0, "ended")):
        state, found = guarded.evaluate(state, frame([value] * 9, at), T0, Journal())
        assert told(found) == [(*one, change) for one in wanted]


def test_a_rule_that_breaks_at_everything_rests_for_a_minute_and_is_then_tried_again(bench, monkeypatch):
    guarded = bench.guarded(bench.pipeline._engine.engine)
    calls = breaks(monkeypatch, "noise_monitor.loud")
    with capture_logs() as logs:
        state, found = guarded.evaluate(State.empty(), frame([70.0] * 1000), T0, Journal())
    assert [line["event"] for line in logs] == ["part_broken", "rule_rests"]
    assert {rule for rule, _, _ in told(found)} == {"noise_monitor.still"}
    assert len(found) == 1000
    assert [len(devices) for devices in calls].count(1) == MANY + 1, (
        "or each batch would take a thousand times as long"
    )
    calls.clear()
    state, _ = guarded.evaluate(state, frame([70.0] * 1000, T0 + 1000), T0, Journal())
    assert calls == []
    assert guarded._at_devices == {}, "nothing is remembered of devices meanwhile"
    monkeypatch.undo()
    bench.clock._monotonic += REST_S
    state, found = guarded.evaluate(state, frame([70.0] * 1000, T0 + 2000), T0, Journal())
    assert {rule for rule, _, _ in told(found)} == {"noise_monitor.loud"}


def test_a_rule_that_breaks_at_more_and_more_devices_rests_when_they_are_too_many_to_remember(
    bench, monkeypatch
):
    guarded, state = bench.guarded(bench.pipeline._engine.engine), State.empty()
    calls = breaks(monkeypatch, "noise_monitor.loud", devices={f"d{n}" for n in range(MANY + 1)})
    judged = []
    for nth, devices in enumerate((MANY, MANY + 1, MANY + 9)):
        calls.clear()
        state, _ = guarded.evaluate(state, frame([70.0] * devices, T0 + 1000 * nth), T0, Journal())
        judged.append(bool(calls))
    assert judged == [True, True, False]


def test_readings_at_which_a_rule_breaks_are_stored_and_none_is_in_quarantine(bench, monkeypatch):
    breaks(monkeypatch, "noise_monitor.loud")
    acks, news = bench.deliver(
        bench.upload(1, {"sound_level": 70.0}), bench.upload(2, {"smoke_alarm": 1.0}, device="smoke-01")
    )
    assert news
    assert acks[0][1].ranges == ((1, 2),)
    assert bench.fates() == {"received": 2, "stored": 2, "quarantined": 0, "duplicated": 0}
    rules = {m.transition.rule for m in bench.pipeline.standing()}
    assert {"noise_monitor.still", "smoke_detector.fire"} <= rules
    assert "noise_monitor.loud" not in rules


def test_what_the_machine_fails_at_is_no_rules_fault(bench, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(Judge, "evaluate", fail)
    with pytest.raises(MemoryError):
        bench.deliver(bench.upload(1, {"sound_level": 70.0}))
    assert bench.pipeline.faults.count() == 0


def test_a_start_at_which_a_rule_breaks_is_a_start_and_the_others_know_what_stood(bench, monkeypatch):
    bench.deliver(bench.upload(1, {"sound_level": 70.0}))
    bench.deliver(bench.upload(2, {"smoke_alarm": 1.0}, device="smoke-01"))
    breaks(monkeypatch, "noise_monitor.loud")
    bench.close()
    bench.open()
    rules = {m.transition.rule for m in bench.pipeline.standing()}
    assert {"noise_monitor.still", "smoke_detector.fire"} <= rules
    assert bench.pipeline.faults.count() == 1


def test_a_start_at_which_judging_breaks_outside_any_rule_passes_over_what_it_breaks_at(bench, monkeypatch):
    bench.deliver(bench.upload(1, {"sound_level": 70.0}))
    bench.deliver(bench.upload(2, {"smoke_alarm": 1.0}, device="smoke-01"))
    whole = Engine.evaluate

    def failing(self, state, frame, *rest):
        if frame.device_class == "noise_monitor":
            raise IndexError("a fault of ours")
        return whole(self, state, frame, *rest)

    monkeypatch.setattr(Engine, "evaluate", failing)
    bench.close()
    bench.open()
    assert [m.transition.rule for m in bench.pipeline.standing()] == ["smoke_detector.fire"]


@pytest.mark.parametrize("broken", [(Silence, "is_due"), (Silence, "expect"), (Outages, "tick")])
def test_time_passes_for_all_but_what_breaks_and_it_is_told_later(bench, monkeypatch, broken):
    bench.deliver(bench.upload(1, {"sound_level": 50.0}))

    def fail(*_):
        raise IndexError("a fault of ours")

    monkeypatch.setattr(*broken, fail)
    bench.clock._monotonic += 400
    bench.clock.step_wall(400)
    bench.pipeline.tick()
    bench.pipeline.use(bench.registry)
    bench.pipeline.judge_by(bench.pipeline._engine.engine)
    assert bench.pipeline.faults.count() >= 1
    monkeypatch.undo()
    bench.clock._monotonic += 2000
    bench.clock.step_wall(2000)
    bench.pipeline.tick()
    assert "smoke-01" in {m.transition.device for m in bench.pipeline.standing()}


async def test_a_duty_that_breaks_is_done_the_next_time_and_ends_no_other(bench):
    done, outcomes = [], [IndexError("a fault of ours"), Unavailable("disk full"), None, None]

    def work():
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        done.append(True)
        return False

    async def here(work, *arguments):
        return work(*arguments)

    async def first():
        if len(outcomes) == 1:
            raise KeyError("notAfter")

    duties = Duties(bench.clock, here, lambda _: None, bench.pipeline.faults)
    with capture_logs() as logs:
        doing = asyncio.ensure_future(duties.every(1.0, "packs", work, first))
        for _ in range(6):
            await bench.clock.advance(1.0)
    doing.cancel()
    assert len(done) >= 2
    parts = [(line["part"], str(line["exc_info"])) for line in logs if line["event"] == "part_broken"]
    assert parts[:2] == [("packs", "a fault of ours"), ("packs", "'notAfter'")]


async def test_newest_values_that_break_ingest_are_known_as_they_come_in(bench, monkeypatch):
    def fail():
        raise IndexError("a fault of ours")

    async def here(work, *arguments):
        return work(*arguments)

    monkeypatch.setattr(bench.store, "latest", fail)
    await _recall(bench.store, bench.pipeline, bench.clock, here, here)
    assert bench.pipeline.faults.count() == 1
    bench.deliver(bench.upload(1, {"sound_level": 50.0}))
    assert bench.pipeline.latest["noise-01"]["values"] == {"sound_level": 50.0}


async def test_what_is_broken_is_on_the_desk_until_it_has_worked_for_ten_minutes(bench, monkeypatch):
    source = SimpleNamespace(agents=list)
    config = SimpleNamespace(
        producer="ingest-1", ledger=LedgerConfig(bench.folder / "ledger.db"), broker=BrokerConfig("127.0.0.1")
    )
    wellbeing = Wellbeing(config, source, bench.ledger, str, bench.clock)

    def standing():
        broken = bench.pipeline.faults.count()
        bench.pipeline.observe(wellbeing.frames(frozenset(), broken=broken))
        return [m.transition.rule for m in bench.pipeline.standing() if m.transition.rule == "ingest.broken"]

    assert standing() == []
    await bench.clock.advance(30)
    breaks(monkeypatch, "noise_monitor.loud")
    bench.deliver(bench.upload(1, {"sound_level": 50.0}))
    assert standing() == ["ingest.broken"]
    assert b'yemai_ingest_part_faults_total{part="noise_monitor.loud"} 1.0' in bench.metrics.text()
    monkeypatch.undo()
    await bench.clock.advance(KEPT_S / 2)
    assert standing() == ["ingest.broken"]
    await bench.clock.advance(KEPT_S / 2 + 1)
    with capture_logs() as logs:
        assert standing() == []
    assert "part_works_again" in [line["event"] for line in logs]
