"""State: what a restart keeps, what a changed pack keeps, and what broken bytes get."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.state import State
from telemetry.errors import Malformed
from tests.rules.scenes import HOT, SILENT, SLOW, STUCK, T0, engine, frame, told


def restart(state):
    return State.load({name: state.dump(name) for name in state.classes})


@pytest.fixture
def full():
    judge = engine(HOT, SLOW, STUCK, SILENT)
    state = judge.expect(State.empty(), {"b1": "boiler", "b2": "boiler"}, T0)
    return judge.evaluate(state, frame((0, 75.0), (1, 20.0), (2, 95.0), (2, 50.0, "b2")), T0)[0]


def test_a_restart_keeps_everything(full):
    again = restart(full)
    assert {name: again.dump(name) for name in again.classes} == {"boiler": full.dump("boiler")}
    judge = engine(HOT, SLOW, STUCK, SILENT)
    assert judge.active(again) == judge.active(full) != []


def test_a_state_is_never_changed(full):
    before = full.dump("boiler")
    judge = engine(HOT, SLOW, STUCK, SILENT)
    judge.evaluate(full, frame((3, 20.0), (3, 99.0, "b3"), (1, 99.0)), T0)
    judge.tick(full, T0 + 10**7)
    judge.expect(full, {"b4": "boiler"}, T0 + 10**7)
    engine(HOT).tick(full, T0 + 10**7)
    assert full.dump("boiler") == before


def test_a_rule_that_is_in_no_pack_any_more_ends_its_alarms(full):
    left = engine(SLOW, STUCK, SILENT)
    state, found = left.tick(restart(full), T0 + 5000)
    assert told(found) == [("ended", "red", 5)]
    assert (found[0].rule, found[0].id[-2:]) == ("boiler.hot", "-1")
    assert left.active(state) == []
    assert left.tick(state, T0 + 6000) == (state, [])


def test_a_rule_that_reads_differently_now_keeps_its_alarm_and_judges_it_anew(full):
    milder = engine({**HOT, "above": {"orange": 80, "red": 200}})
    state, found = milder.evaluate(full, frame((3, 95.0)), T0 + 3000)
    assert told(found) == [("eased", "orange", 3)]
    _, found = milder.evaluate(state, frame((4, 10.0)), T0 + 4000)
    assert told(found) == [("ended", "orange", 4)]


def test_a_changed_duration_does_not_end_what_stands():
    state, _ = engine(SLOW).evaluate(State.empty(), frame((0, 75.0), (5, 75.0), (10, 75.0)), T0)
    _, found = engine({**SLOW, "for_s": 60}).evaluate(state, frame((11, 75.0)), T0)
    assert found == []


def test_unchanged_rules_do_not_notice_that_another_changed(full):
    old, new = engine(HOT, SLOW), engine({**HOT, "clear": 50}, SLOW)
    for judge in (old, new):
        state, _ = judge.evaluate(full, frame((8, 95.0)), T0)
        _, found = judge.evaluate(state, frame((13, 95.0)), T0)
        assert [(t.rule, t.time - T0) for t in found] == [("boiler.slow", 2000)]


def test_an_alarm_that_stands_at_the_restart_of_a_smaller_pack_is_not_lost_before_it_is_ended(full):
    assert told(engine(SLOW).active(restart(full))) == [("began", "red", 2)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "rule state: Input data was truncated"),
        (b"\x93\x01\x02\x03", "rule state: Expected `object`"),
        (msgspec.msgpack.encode({"version": 1}), "rule state of version 1, this is 2"),
    ],
)
def test_bytes_that_are_no_state_say_so(data, says):
    with pytest.raises(Malformed, match=says):
        State.load({"boiler": data})


def _broken(full, change):
    raw = msgspec.msgpack.decode(full.dump("boiler"))
    change(raw["rules"]["boiler.hot"])
    return msgspec.msgpack.encode(raw)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rule: rule["columns"].pop("level"), r"has no \['level'\]"),
        (lambda rule: rule["columns"].update(level=["|i1", b"\0"]), "is cut short"),
        (lambda rule: rule["columns"].update(judged=["<i8", b"\0" * 7]), "has a broken column"),
        (lambda rule: rule["columns"].update(judged=["|O8", b"\0" * 16]), "has a broken column"),
        (lambda rule: rule.update(past=[[7, 0, 0]]), "a device that is not there"),
    ],
)
def test_a_state_that_does_not_fit_itself_says_where(full, change, says):
    with pytest.raises(Malformed, match=f"rule state of 'boiler.hot' .*{says}|{says}"):
        State.load({"boiler": _broken(full, change)})


@given(st.data())
def test_damaged_bytes_give_a_state_or_malformed(data):
    judge = engine(HOT, SLOW)
    whole = judge.evaluate(State.empty(), frame((0, 75.0)), T0)[0].dump("boiler")
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    for candidate in (damaged, whole[:at], data.draw(st.binary(max_size=64))):
        try:
            State.load({"boiler": candidate})
        except Malformed:
            continue
