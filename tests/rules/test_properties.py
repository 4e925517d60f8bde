"""What holds for every series: the arrays equal the plain loop, and neither restarts nor batches are noticed."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.frame import Frame
from rules.state import Journal, State
from telemetry.quality import Quality
from tests.rules import scalar
from tests.rules.scenes import BOILER, HOT, SILENT, SLOW, STUCK, T0, engine, reading

RULES = [
    HOT,
    SLOW,
    STUCK,
    {**SLOW, "id": "boiler.gap", "gap_s": 3},
    {**SLOW, "id": "boiler.cold", "above": {}, "at_most": {"blue": 70, "orange": 60}, "clear": 90},
    {**HOT, "id": "boiler.floor", "above": {}, "below": {"blue": 70, "red": 60}, "clear": 75},
    {"id": "boiler.exact", "metric": "heat", "equals": {"yellow": 60, "red": 95}, "for_s": 4},
]
RULES = [{key: value for key, value in keys.items() if value != {}} for keys in RULES]
HEAT = st.one_of(
    st.sampled_from([50.0, 50.4, 60.0, 65.0, 70.0, 75.0, 90.0, 95.0]), st.none(), st.just(float("nan"))
)
QUALITY = st.sampled_from([Quality.GOOD] * 6 + [Quality.IMPLAUSIBLE, Quality.WARMING_UP])
STEP = st.sampled_from([1, 2, 4, 5, 40, 0, -1, -7, -30])  # seconds: steady, gaps, doubles, late


@st.composite
def series(draw, steps=STEP):
    """Readings of two devices, in the order they come."""
    made, now = [], {"b1": 0.0, "b2": 0.0}
    for _ in range(draw(st.integers(1, 40))):
        device = draw(st.sampled_from(["b1", "b1", "b2"]))
        now[device] += draw(steps)
        made.append(reading(now[device], draw(HEAT), device, draw(QUALITY)))
    return made


@st.composite
def cut(draw, of):
    """A series cut into frames anyhow."""
    readings = draw(of)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(readings) - 1)), max_size=8)))
    edges = [0, *(c for c in cuts if c < len(readings)), len(readings)]
    return [readings[a:b] for a, b in itertools.pairwise(edges)]


def run(frames, *, restarting=False, rules=RULES):
    judge, state, found = engine(*rules), State.empty(), []
    for number, readings in enumerate(frames):
        if restarting:
            judge = engine(*rules)
            state = State.load({name: state.dump(name) for name in state.classes})
        state, news = judge.evaluate(state, Frame.of(readings, BOILER), T0 + number)
        found += news
    return state, found


def by_track(found):
    """What is told of each (rule, device), in order, as the plain loop spells it."""
    told, began = {}, {}
    for t in found:
        if t.change == "began":
            began[t.alarm] = t.time
        line = (began[t.alarm], t.change.value, t.severity.name.lower(), t.time, t.value, t.retrospective)
        told.setdefault((t.rule, t.device), []).append(line)
    return told


@given(cut(series()))
@settings(max_examples=400, deadline=None)
def test_the_arrays_tell_what_a_plain_loop_tells(frames):
    _, found = run(frames)
    assert by_track(found) == scalar.judge(RULES, frames)


@given(cut(series()))
@settings(deadline=None)
def test_a_restart_at_any_moment_is_not_noticed(frames):
    rules = [*RULES, SILENT]
    state, found = run(frames, rules=rules)
    restarted, again = run(frames, restarting=True, rules=rules)
    assert again == found
    assert restarted.dump("boiler") == state.dump("boiler")
    assert engine(*rules).active(restarted) == engine(*rules).active(state)


@given(series(STEP.map(lambda step: abs(step) or 1)), st.data())
@settings(deadline=None)
def test_how_orderly_data_is_cut_into_frames_is_not_noticed(readings, data):
    _, whole = run([readings])
    _, cut_up = run(data.draw(cut(st.just(readings))))
    assert by_track(whole) == by_track(cut_up)
    assert [t.id for t in sorted(whole, key=lambda t: t.id)] == [
        t.id for t in sorted(cut_up, key=lambda t: t.id)
    ]


@given(cut(series()))
@settings(deadline=None)
def test_the_same_frame_from_the_same_state_tells_the_same(frames):
    state, _ = run(frames[:-1])
    judge, last = engine(*RULES), Frame.of(frames[-1], BOILER)
    first_state, first = judge.evaluate(state, last, T0)
    second_state, second = judge.evaluate(state, last, T0)
    assert first == second
    assert first_state.dump("boiler") == second_state.dump("boiler")


ODD = {"id": "boiler.odd", "metric": "heat", "anomaly": {"severity": "blue", "budget_per_day": 1}}


def dumps(state):
    return {name: state.dump(name) for name in state.classes}


@given(cut(series()))
@settings(deadline=None, max_examples=50)
def test_what_is_written_over_in_place_is_the_same_and_can_be_put_back(frames):
    judge, pure, kept = engine(*RULES, ODD, SILENT), State.empty(), State.empty()
    for number, readings in enumerate(frames):
        one, before, journal = Frame.of(readings, BOILER), dumps(kept), Journal()
        middle, _ = judge.evaluate(kept, one, T0 + number, journal)
        judge.evaluate(middle, one, T0 + number + 1, journal)
        journal.undo()
        assert dumps(kept) == before
        pure, told = judge.evaluate(pure, one, T0 + number)
        kept, news = judge.evaluate(kept, one, T0 + number, Journal())
        assert (news, dumps(kept)) == (told, dumps(pure))


@given(cut(series()))
@settings(deadline=None)
def test_what_stands_is_what_began_and_did_not_end(frames):
    state, found = run(frames)
    latest = {t.alarm: t for t in found if not t.retrospective}
    standing = [t for t in latest.values() if t.change != "ended"]
    key = lambda t: t.id  # noqa: E731
    assert sorted(engine(*RULES).active(state), key=key) == sorted(standing, key=key)


@given(cut(series()))
@settings(deadline=None)
def test_late_data_leaves_no_alarm_open(frames):
    _, found = run(frames)
    late = {t.alarm: t.change for t in found if t.retrospective}
    assert set(late.values()) <= {"ended"}


@given(cut(series()), st.sampled_from([None, float("nan")]))
@settings(deadline=None)
def test_samples_that_are_not_known_change_nothing(frames, nothing):
    more = [
        [
            r
            for known in readings
            for r in (known, reading((known.time - T0) / 1000 + 0.5, nothing, known.device))
        ]
        for readings in frames
    ]
    assert by_track(run(frames)[1]) == by_track(run(more)[1])


@pytest.mark.parametrize("seed", range(12))
def test_long_random_series_are_told_as_the_plain_loop_tells_them(seed):
    lot = random.Random(seed)
    frames, now = [], dict.fromkeys(("b1", "b2", "b3"), 0.0)
    heats = [50.0, 50.4, 60.0, 65.0, 70.0, 75.0, 90.0, 95.0, None, float("nan")]
    for _ in range(60):
        readings = []
        for _ in range(lot.choice([1, 1, 2, 12])):
            device = lot.choice(list(now))
            now[device] += lot.choice([1, 2, 2, 4, 5, 40, 0, -1, -7, -30])
            quality = Quality.WARMING_UP if lot.random() < 0.1 else Quality.GOOD
            readings.append(reading(now[device], lot.choice(heats), device, quality))
        frames.append(readings)
    _, found = run(frames)
    assert any(t.retrospective for t in found)
    assert by_track(found) == scalar.judge(RULES, frames)
