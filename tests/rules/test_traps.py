"""Traps that other platforms fell into, and the order of arrival, which must make no difference to what pages."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from rules.frame import Frame
from rules.state import State
from rules.topology import Spot, Topology
from telemetry.quality import Quality
from telemetry.readings import Reading
from tests.rules.scenes import BOILER, HOT, SILENT, SLOW, STUCK, T0, engine, frame, told

WHEN = {
    "id": "boiler.when",
    "when": "heat > 70 and door == 0",
    "severity": "red",
    "for_s": 10,
    "clear_when": "heat < 60",
}
FAST = {"id": "boiler.fast", "when": "rate(heat, 20s) > 30 or rate(heat, 20s) < -30", "severity": "yellow"}
OFTEN = {**HOT, "id": "boiler.often", "n_of_m": [2, 4]}
NIGHT = {**HOT, "id": "boiler.night", "schedule": {"hours": "00:00-23:00"}}
RULES = [HOT, SLOW, STUCK, WHEN, FAST, OFTEN, NIGHT]
"""Of each kind one: limits, durations, rest, several metrics, a rate, n of m, a schedule."""


# -- the three traps -----------------------------------------------------------------------------------


def test_a_duration_rule_does_not_fire_across_a_gap_of_the_data():
    """ThingsBoard 14210: a ten-second rule saw one hot sample, an hour of nothing, and another."""
    judge, state, found = engine(SLOW, WHEN), State.empty(), []
    for seconds in (0, 3600):
        rows = Frame.of([both(seconds, 75.0, 0)], BOILER)
        state, news = judge.evaluate(state, rows, T0 + seconds * 1000)
        found += news
    assert found == []


def test_a_silence_that_ends_in_the_instant_it_is_told_is_cleared():
    """ThingsBoard 7909: data and time-out coincide, and the alarm stayed for ever."""
    judge, now = engine(SILENT), T0 + 301_000
    state = judge.expect(State.empty(), {"b1": "boiler"}, T0)
    state, began = judge.tick(state, now)
    state, ended = judge.evaluate(state, frame((301, 20.0)), now)
    assert told(began + ended) == [("began", "blue", 0), ("ended", "blue", 301)]
    assert judge.active(state) == []
    # and the other way round: the value is there when the time is up
    state = judge.expect(State.empty(), {"b1": "boiler"}, T0)
    state, _ = judge.evaluate(state, frame((301, 20.0)), now)
    assert judge.tick(state, now) == (state, [])


def test_late_data_does_not_recover_an_alarm():
    """VictoriaMetrics 4951: samples of before the alarm came late and resolved it."""
    judge = engine(HOT, WHEN, SLOW)
    state, found = judge.evaluate(State.empty(), Frame.of([both(100, 95.0, 0)], BOILER), T0 + 100_000)
    assert told(found) == [("began", "red", 100)]
    late = Frame.of([both(seconds, 20.0, 1) for seconds in (10, 50, 90)], BOILER)
    after, found = judge.evaluate(state, late, T0 + 101_000)
    assert found == []
    assert judge.active(after) == judge.active(state)


# -- the order of arrival ------------------------------------------------------------------------------


def both(seconds, heat, door, device="b1"):
    values = {"heat": heat, "door": door}
    quality = {name: Quality.NO_ANSWER for name, value in values.items() if value is None}
    return Reading(device, T0 + round(seconds * 1000), values, quality)


@st.composite
def orderly(draw):
    """Readings of two devices, each device's own in time order."""
    made, now = [], {"b1": 0, "b2": 0}
    for _ in range(draw(st.integers(1, 40))):
        device = draw(st.sampled_from(["b1", "b2"]))
        now[device] += draw(st.sampled_from([1, 2, 4, 5, 9, 40]))
        heat = draw(st.sampled_from([50.0, 65.0, 75.0, 95.0, None]))
        made.append(both(now[device], heat, draw(st.sampled_from([0, 0, 1, None])), device))
    return made


def cuts(draw, readings):
    at = sorted(draw(st.sets(st.integers(1, max(1, len(readings) - 1)), max_size=8)))
    edges = [0, *(c for c in at if c < len(readings)), len(readings)]
    return [readings[a:b] for a, b in itertools.pairwise(edges)]


def paged(frames):
    """The ids of what pages, by rule and device, in order; and whether all the rest is marked."""
    judge, state, found = engine(*RULES), State.empty(), []
    for number, readings in enumerate(frames):
        state, news = judge.evaluate(state, Frame.of(readings, BOILER), T0 + number)
        found += news
    tracks = {}
    for t in found:
        if not t.retrospective:
            tracks.setdefault((t.rule, t.device), []).append((t.id, t.change, t.severity, t.time, t.value))
    return tracks


@given(orderly(), st.data())
@settings(max_examples=40, deadline=None)
def test_delays_doubles_and_disorder_within_a_message_page_the_same(readings, data):
    """Allowed to differ: ``judged``, and what doubles tell as retrospective."""
    plain = paged([[r] for r in readings])
    frames = [data.draw(st.permutations(part)) for part in cuts(data.draw, readings)]
    for _ in range(data.draw(st.integers(0, 3))):
        again = data.draw(st.integers(0, len(frames) - 1))
        later = data.draw(st.integers(again + 1, len(frames)))
        frames.insert(later, frames[again])
    assert paged(frames) == plain


@given(orderly(), st.data())
@settings(max_examples=40, deadline=None)
def test_disorder_across_messages_pages_what_the_punctual_samples_page(readings, data):
    """Allowed to differ: what late samples tell is told as retrospective and pages no one."""
    shuffled = data.draw(st.permutations(readings))
    for keys in (HOT, SLOW, OFTEN, WHEN, FAST):
        newest, punctual = {}, []
        for r in shuffled:
            # What is unknown to a rule of one metric makes nothing late.
            if (keys is WHEN or keys is FAST or r.values["heat"]) and r.time > newest.get(r.device, -1):
                punctual.append(r)
                newest[r.device] = r.time
        judge = engine(keys)
        assert _paged_by(judge, shuffled) == _paged_by(judge, punctual)


def _paged_by(judge, readings):
    state, found = State.empty(), []
    for number, r in enumerate(readings):
        state, news = judge.evaluate(state, Frame.of([r], BOILER), T0 + number)
        found += [(t.id, t.time) for t in news if not t.retrospective]
    return found


@given(orderly())
@settings(max_examples=30, deadline=None)
def test_the_short_form_means_what_the_long_form_means(readings):
    pairs = [
        ({"metric": "heat", "above": {"yellow": 70}, "clear": 60, "for_s": 6},
         {"when": "heat > 70 degC", "severity": "yellow", "clear_when": "heat <= 60", "for_s": 6}),
        ({"metric": "heat", "at_least": {"yellow": 65, "red": 95}},
         {"when": {"yellow": "heat >= 65", "red": "not heat < 95"}}),
        ({"metric": "door", "equals": {"blue": 1}, "n_of_m": [2, 3]},
         {"when": "door == 1", "severity": "blue", "n_of_m": [2, 3]}),
        ({"metric": "heat", "below": {"blue": 60}}, {"when": "heat + 0 < 120 / 2", "severity": "blue"}),
    ]  # fmt: skip
    for short, long in pairs:
        by = []
        for keys in (short, long):
            judge, state, found = engine({"id": "boiler.rule", **keys}), State.empty(), []
            for number, r in enumerate(readings):
                state, news = judge.evaluate(state, Frame.of([r], BOILER), T0 + number)
                found += [(t.id, t.change, t.severity, t.time) for t in news]
            by.append(found)
        assert by[0] == by[1]


# -- alarms that come and go ---------------------------------------------------------------------------


def test_an_alarm_that_begins_a_third_time_in_ten_minutes_chatters_and_is_told_all_the_same():
    judge, state, found = engine(HOT), State.empty(), []
    for number, heat in enumerate([75, 20, 75, 20, 75, 20]):
        state, news = judge.evaluate(state, frame((number * 100, float(heat))), T0)
        found += news
    assert [(t.change.value, t.chattering) for t in found] == [
        ("began", False), ("ended", False), ("began", False), ("ended", False), ("began", True), ("ended", True),
    ]  # fmt: skip
    state = State.load({name: state.dump(name) for name in state.classes})
    _, found = judge.evaluate(state, frame((650, 75.0)), T0)
    assert [t.chattering for t in found] == [True]
    _, found = judge.evaluate(state, frame((1200, 75.0)), T0)
    assert [t.chattering for t in found] == [False]


def test_an_alarm_that_ends_within_a_minute_was_fleeting():
    judge = engine(HOT)
    for seconds, fleeting in ((59, True), (60, False)):
        state, _ = judge.evaluate(State.empty(), frame((0, 75.0)), T0)
        _, (ended,) = judge.evaluate(state, frame((seconds, 20.0)), T0)
        assert ended.fleeting is fleeting


# -- silence of one metric -----------------------------------------------------------------------------


def test_a_metric_is_missed_while_its_device_says_other_things():
    deaf = {
        "id": "boiler.deaf",
        "metric": "heat",
        "category": "fault",
        "no_data": {"after_s": 60, "severity": "blue"},
    }
    judge = engine(deaf)
    state = judge.expect(State.empty(), {"b1": "boiler", "b2": "boiler", "b3": "boiler"}, T0)

    def at(seconds, *readings):
        nonlocal state
        state, found = judge.evaluate(state, Frame.of(readings, BOILER), T0 + seconds * 1000)
        state, ticked = judge.tick(state, T0 + seconds * 1000)
        return [(t.change.value, t.device, t.metric) for t in found + ticked]

    assert at(0, both(0, 20.0, 0, "b1"), both(0, 20.0, 0, "b2"), both(0, None, 0, "b3")) == []
    # b1 goes on without heat, b2 falls silent as a whole, b3 never had any
    assert at(50, both(50, None, 0, "b1"), both(50, None, 0, "b3")) == []
    assert at(61, both(61, None, 0, "b1"), both(61, None, 0, "b3")) == [("began", "b1", "heat")]
    assert at(300, both(300, None, 0, "b1"), both(300, None, 0, "b3")) == []
    assert at(310, both(310, 20.0, 0, "b1")) == [("ended", "b1", "heat")]


def test_a_device_is_waited_for_by_its_own_period():
    judge = engine({**SILENT, "no_data": {"after_s": 300, "severity": "blue", "periods": 3}})
    judge.topology = Topology({"b1": Spot(period_s=3600), "b2": Spot(period_s=10)})
    state = judge.expect(State.empty(), {"b1": "boiler", "b2": "boiler"}, T0)
    state, found = judge.tick(state, T0 + 400_000)
    assert [t.device for t in found] == ["b2"]
    state, found = judge.tick(state, T0 + 10_801_000)
    assert [t.device for t in found] == ["b1"]
