"""The engine against a slow reference, and the properties that operators lean on."""

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from device_profiles.vocabulary import load_classes
from rules.engine import Engine
from rules.frame import Frame
from rules.pack import Rule, RulePack, load_packs
from rules.state import State
from telemetry.errors import Malformed
from telemetry.quality import ABSENT, Quality
from telemetry.readings import Reading
from telemetry.text import Text
from telemetry.transitions import Change

CLASSES = load_classes()
START = 1_764_000_000_000
TEMPERATURE = CLASSES["ev_charger"]


def rule(**fields):
    given_ = {
        "id": "ev_charger.r",
        "title": Text("甲", "A"),
        "metric": "temperature",
        "source": "test",
        **fields,
    }
    return msgspec.convert(given_, Rule)


def engine(*rules):
    return Engine([RulePack("ev_charger", rules, ())], CLASSES)


def frame(*samples):
    """Samples are (device, seconds, value or None, quality)."""
    return Frame.of(
        [
            Reading(
                device,
                START + round(seconds * 1000),
                {"temperature": value},
                {"temperature": quality} if quality else {},
            )
            for device, seconds, value, quality in samples
        ],
        TEMPERATURE,
    )


def play(judge, frames, state=None):
    state, found = state or State.empty(), []
    for one in frames:
        state, transitions = judge.evaluate(state, one, int(one.time.max()) + 50)
        found += transitions
    return state, found


class Reference:
    """One device, one rule, sample by sample: what the vectorised engine must equal."""

    def __init__(self, wanted):
        self.rule, self.level, self.since, self.newest = wanted, 0, {}, -1

    def take(self, time, value, known):
        if not known or time <= self.newest:
            return None
        self.newest = time
        level = 0
        for severity, limit in self.rule.limits.items():
            held = self.level >= severity and value > limit - self.rule.gap
            if value > limit or held:
                self.since.setdefault(severity, time)
                if time - self.since[severity] >= self.rule.for_s * 1000:
                    level = severity
            else:
                self.since.pop(severity, None)
        if level == self.level:
            return None
        before, self.level = self.level, level
        if level == 0:
            self.since.clear()
            return Change.ENDED
        return Change.BEGAN if before == 0 else Change.WORSENED if level > before else Change.EASED


samples = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 60),
    st.one_of(st.none(), st.sampled_from([20.0, 79.0, 81.0, 86.0, 94.0, 96.0, 120.0])),
    st.sampled_from([0, 0, 0, 0, Quality.IMPLAUSIBLE, Quality.NO_ANSWER]),
)


@given(
    batches=st.lists(st.lists(samples, min_size=1, max_size=8), max_size=12), for_s=st.sampled_from([0, 3])
)
@settings(max_examples=200, deadline=None)
def test_columns_judge_as_one_sample_after_the_other(batches, for_s):
    wanted = rule(above={"orange": 85, "red": 95}, clear=80, for_s=for_s)
    judge, state = engine(wanted), State.empty()
    references = {name: Reference(wanted) for name in "abc"}
    for batch in batches:
        one = frame(*batch)
        state, found = judge.evaluate(state, one, START + 100_000)
        expected = []
        for device, seconds, value, quality in sorted(batch, key=lambda s: s[1]):
            known = value is not None and quality < 64
            change = references[device].take(START + seconds * 1000, value, known)
            if change:
                expected.append((device, change))
        live = [(t.device, t.change) for t in found if not t.retrospective]
        for device in "abc":  # the order between devices is nobody's business
            assert [c for d, c in live if d == device] == [c for d, c in expected if d == device]


@given(
    batches=st.lists(st.lists(samples, min_size=1, max_size=6), min_size=1, max_size=8), cut=st.integers(0, 8)
)
@settings(max_examples=100, deadline=None)
def test_a_restart_is_as_if_nothing_had_happened(batches, cut):
    judge = engine(rule(above={"orange": 85, "red": 95}, clear=80, for_s=2))
    frames = [frame(*batch) for batch in batches]
    _, whole = play(judge, frames)
    state, found = play(judge, frames[:cut])
    if "ev_charger" in state.classes:
        state = State.load({"ev_charger": state.dump("ev_charger")})
    _, rest = play(judge, frames[cut:], state)
    assert found + rest == whole


def test_the_same_frame_from_the_same_state_gives_the_same_transitions():
    judge = engine(rule(above={"red": 95}))
    state, _ = play(judge, [frame(("a", 0, 20.0, 0))])
    hot = frame(("a", 1, 99.0, 0))
    assert judge.evaluate(state, hot, START)[1] == judge.evaluate(state, hot, START)[1]


def test_what_is_not_known_neither_begins_nor_ends_an_alarm():
    judge = engine(rule(above={"red": 95}))
    _, found = play(
        judge,
        [
            frame(("a", 0, 99.0, Quality.IMPLAUSIBLE)),
            frame(("a", 1, 99.0, 0)),
            frame(("a", 2, None, Quality.NO_ANSWER)),
            frame(("a", 3, 20.0, Quality.STUCK)),
        ],
    )
    assert [t.change for t in found] == [Change.BEGAN]


def test_late_data_is_judged_and_marked_and_moves_nothing():
    judge = engine(rule(above={"red": 95}))
    state, _ = play(judge, [frame(("a", 100, 20.0, 0))])
    _, found = judge.evaluate(state, frame(("a", 50, 99.0, 0)), START + 200_000)
    assert [(t.change, t.retrospective, t.time) for t in found] == [
        (Change.BEGAN, True, START + 50_000),
        (Change.ENDED, True, START + 50_000),
    ]
    state, _ = judge.evaluate(state, frame(("a", 50, 99.0, 0)), START + 200_000)
    assert judge.active(state) == []


def test_standing_alarms_are_told_again_with_their_latest_transition():
    judge = engine(rule(above={"orange": 85, "red": 95}))
    state, found = play(judge, [frame(("a", 0, 90.0, 0)), frame(("a", 1, 99.0, 0))])
    (again,) = judge.active(state)
    assert (again.id, again.severity, again.time) == (found[-1].id, found[-1].severity, found[-1].time)


def test_an_alarm_has_the_same_id_whoever_finds_it():
    judge = engine(rule(above={"red": 95}))
    hot = frame(("a", 5, 99.0, 0))
    assert play(judge, [hot])[1][0].id == play(engine(rule(above={"red": 95})), [hot])[1][0].id


def test_a_device_that_never_spoke_is_missed_too():
    silent = rule(id="ev_charger.no_data", metric="", no_data={"after_s": 60, "severity": "blue"})
    judge = engine(silent)
    state = judge.expect(State.empty(), {"a": "ev_charger"}, START)
    assert judge.tick(state, START + 60_000)[1] == []
    state, found = judge.tick(state, START + 60_001)
    assert [(t.device, t.change) for t in found] == [("a", Change.BEGAN)]
    assert judge.tick(state, START + 120_000)[1] == []
    _, found = judge.evaluate(state, frame(("a", 130, 20.0, 0)), START + 130_000)
    assert [t.change for t in found] == [Change.ENDED]


def test_the_platforms_own_silence_is_not_the_devices():
    judge = engine(rule(id="ev_charger.no_data", metric="", no_data={"after_s": 60, "severity": "blue"}))
    state = judge.expect(State.empty(), {"a": "ev_charger"}, START)
    state = judge.expect(state, {"a": "ev_charger"}, START + 3_600_000)  # ingest was down for an hour
    assert judge.tick(state, START + 3_630_000)[1] == []


def test_the_state_given_stays_as_it_was():
    judge = engine(rule(above={"red": 95}))
    state, _ = play(judge, [frame(("a", 0, 20.0, 0))])
    before = state.dump("ev_charger")
    judge.evaluate(state, frame(("a", 1, 99.0, 0), ("b", 1, 99.0, 0)), START)
    assert state.dump("ev_charger") == before


@pytest.mark.parametrize("data", [b"", b"\x80", b"garbage", b"\x93\x01\x90\x80"])
def test_a_damaged_state_is_malformed(data):
    with pytest.raises(Malformed):
        State.load({"ev_charger": data})


def test_a_frame_keeps_absent_and_missing_apart():
    one = Frame.of(
        [Reading("a", START, {"temperature": None}, {"temperature": Quality.NO_ANSWER})], TEMPERATURE
    )
    column = list(TEMPERATURE.metrics).index("temperature")
    assert one.quality[0, column] == Quality.NO_ANSWER
    assert (np.delete(one.quality[0], column) == ABSENT).all()
    assert one.sample_count == 1


def test_rounds_keep_a_devices_samples_in_time_order():
    one = frame(("a", 3, 1.0, 0), ("b", 1, 1.0, 0), ("a", 1, 1.0, 0), ("a", 2, 1.0, 0))
    times = [
        [(one.devices[one.index[row]], int(one.time[row] - START) // 1000) for row in part]
        for part in one.rounds()
    ]
    assert times == [[("a", 1), ("b", 1)], [("a", 2)], [("a", 3)]]


def test_every_class_has_a_pack():
    assert {pack.device_class for pack in load_packs()} == set(CLASSES)
