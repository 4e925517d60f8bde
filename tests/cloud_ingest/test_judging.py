"""Packs of the district's own: taken over while ingest runs, refused when they cannot be meant, tried without paging."""

from __future__ import annotations

import msgspec
import pytest
from structlog.testing import capture_logs
from world import CLASSES

from cloud_ingest.judging import Packs
from telemetry.errors import ConfigError, Unavailable
from telemetry.transitions import AlarmMessage

LOUD = """
rules:
  - id: noise_monitor.loud
    title: {zh: 噪声, en: Loud}
    metric: sound_level
    category: warning
    above: {blue: %s}
    source: of the district
"""
GROWING = """
rules:
  - id: soil_monitor.wet
    title: {zh: 湿, en: Wet}
    category: warning
    severity: blue
    when: soil_moisture > 50 and site.noise_monitor.sound_level > 60
    source: of the district
"""


def write(folder, text, name="noise_monitor.yaml"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def told(bench, sound, seq):
    bench.clock.step_wall(1)
    return bench.deliver(bench.upload(seq, {"sound_level": sound}))[1]


def test_a_pack_of_the_district_takes_the_place_of_the_shipped_one(tmp_path):
    write(tmp_path / "own", LOUD % 60)
    packs = Packs(tmp_path / "own", CLASSES)
    assert len(packs.engine().together(["noise_monitor"])) == 1
    with pytest.raises(ConfigError, match="is no folder"):
        Packs(tmp_path / "none", CLASSES).engine()


def test_a_changed_pack_judges_from_the_next_batch_on_and_what_stood_still_stands(bench, tmp_path):
    folder = tmp_path / "own"
    write(folder, LOUD % 60)
    packs = Packs(folder, CLASSES)
    bench.pipeline.judge_by(packs.engine())
    assert told(bench, 70.0, 1)
    assert packs.changed() is None
    write(folder, LOUD % 65.0 + "    advice: {zh: 劝阻, en: Ask them}\n")
    bench.pipeline.judge_by(packs.changed())
    assert len(bench.pipeline.standing()) == 1
    assert not told(bench, 66.0, 2)
    assert told(bench, 61.0, 3)  # ended: by the limit of before it would stand
    assert bench.pipeline.standing() == []


def test_a_pack_that_cannot_be_meant_leaves_the_one_in_force_and_is_told_once(bench, tmp_path):
    folder = tmp_path / "own"
    write(folder, LOUD % 60)
    packs = Packs(folder, CLASSES)
    bench.pipeline.judge_by(packs.engine())
    write(folder, LOUD.replace("sound_level", "sound_levle") % 60)
    with capture_logs() as logs:
        assert packs.changed() is None
        assert packs.changed() is None
    assert [(log["event"], "did you mean 'sound_level'?" in log["problem"]) for log in logs] == [
        ("packs_refused", True)
    ]
    assert told(bench, 70.0, 1)


def test_a_changed_pack_that_the_disk_refuses_is_in_force_when_it_takes_it(bench, tmp_path, monkeypatch):
    folder = tmp_path / "own"
    write(folder, LOUD % 60)
    packs = Packs(folder, CLASSES)
    packs.renew(bench.pipeline.judge_by)
    write(folder, LOUD % 40.5)

    def refuse(*_):
        raise Unavailable("database or disk is full")

    monkeypatch.setattr(bench.ledger.frames, "keep", refuse)
    with pytest.raises(Unavailable):
        packs.renew(bench.pipeline.judge_by)
    monkeypatch.undo()
    packs.renew(bench.pipeline.judge_by)
    assert told(bench, 50.0, 1)


def test_a_pack_on_trial_is_seen_and_pages_no_one(bench, tmp_path):
    folder = tmp_path / "own"
    write(folder, LOUD % 60, "noise_monitor.shadow.yaml")
    bench.pipeline.judge_by(Packs(folder, CLASSES).engine())
    told(bench, 70.0, 1)
    standing, found = bench.pipeline.shadows()
    assert [(t.change.value, t.rule, t.shadow) for t in found] == [("began", "noise_monitor.loud", True)]
    assert standing == found
    assert bench.pipeline.standing() == []
    assert bench.ledger.outbox.waiting(10) == []


def test_a_restart_gives_back_the_state_of_classes_that_ask_each_other(bench, tmp_path):
    folder = tmp_path / "own"
    write(folder, GROWING, "soil_monitor.yaml")
    engine = Packs(folder, CLASSES).engine()
    bench.pipeline.judge_by(engine)
    told(bench, 70.0, 1)
    bench.deliver(bench.upload(2, {"soil_moisture": 80.0}, device="soil-01"))
    assert [m.transition.rule for m in bench.pipeline.standing()] == ["soil_monitor.wet"]
    with bench.ledger.transaction():  # one class has had many frames: both are kept
        bench.ledger.frames.keep(bench.pipeline.state, ["noise_monitor"])
    told(bench, 30.0, 3)
    bench.deliver(bench.upload(4, {"soil_moisture": 80.0}, device="soil-01"))
    before = bench.pipeline.state
    again = bench.ledger.frames.state(bench.guarded(engine))
    assert {n: again.dump(n) for n in again.classes} == {n: before.dump(n) for n in before.classes}
    assert engine.active(again) == []


def test_an_agent_that_falls_silent_is_one_page_of_the_feed_and_a_restart_knows_it(bench):
    bench.deliver(bench.upload(1, {"sound_level": 50.0}))
    bench.clock.step_wall(400)
    bench.deliver(bench.upload(1, {"temperature": 20.0}, device="chg-01", agent="edge-02"), agent="edge-02")
    assert bench.pipeline.tick()
    told = [
        msgspec.json.decode(message.payload, type=AlarmMessage).transition
        for message in bench.ledger.outbox.waiting(50)
    ]
    assert [(t.rule, t.device) for t in told if not t.suppressed_by] == [("outage.agent", "agent:edge-01")]
    assert {t.device for t in told if t.suppressed_by == told[0].alarm} == {"noise-01", "smoke-01", "soil-01"}
    before = {m.transition.id for m in bench.pipeline.standing()}
    bench.close()
    bench.open()
    assert {m.transition.id for m in bench.pipeline.standing()} == before
    assert len(before) == 4
    assert not bench.pipeline.tick()
