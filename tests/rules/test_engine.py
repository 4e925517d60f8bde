"""Stories of single devices: what begins, worsens, eases and ends an alarm, and what does not."""

from __future__ import annotations

from rules.state import State
from telemetry.quality import Quality
from telemetry.transitions import alarm_id
from tests.rules.scenes import HOT, SILENT, SLOW, STUCK, T0, engine, frame, told


def play(rules, *rows, state=None):
    """Evaluate one row a frame; return the state and what was told."""
    state, found = state or State.empty(), []
    for row in rows:
        state, news = engine(*rules).evaluate(state, frame(row), T0 + round(row[0] * 1000) + 50)
        found += news
    return state, found


def test_a_transition_is_complete_enough_to_act_on():
    _, (began,) = play([HOT], (1, 75.0))
    assert began.alarm == alarm_id("b1", "boiler.hot", T0 + 1000)
    assert began.id == f"{began.alarm}-0"
    assert (began.device, began.device_class, began.rule, began.metric) == (
        "b1",
        "boiler",
        "boiler.hot",
        "heat",
    )
    assert (began.value, began.limit, began.unit, began.category) == (75.0, 70.0, "degC", "fire")
    assert (began.time, began.judged, began.retrospective) == (T0 + 1000, T0 + 1050, False)


def test_an_alarm_lives_through_all_its_changes_under_one_id():
    _, found = play([HOT], (0, 75.0), (1, 95.0), (2, 85.0), (3, 75.0), (4, 61.0), (5, 60.0))
    assert told(found) == [
        ("began", "yellow", 0),
        ("worsened", "red", 1),
        ("eased", "yellow", 3),
        ("ended", "yellow", 5),
    ]
    assert len({t.alarm for t in found}) == 1
    assert [t.id.rsplit("-", 1)[1] for t in found] == ["0", "1", "2", "3"]


def test_the_next_occurrence_is_another_alarm():
    _, found = play([HOT], (0, 75.0), (1, 20.0), (2, 75.0))
    assert told(found) == [("began", "yellow", 0), ("ended", "yellow", 1), ("began", "yellow", 2)]
    assert found[0].alarm == found[1].alarm != found[2].alarm


def test_what_is_not_known_neither_begins_nor_ends_an_alarm():
    unbelieved = [Quality.IMPLAUSIBLE, Quality.WARMING_UP, Quality.CLOCK_SUSPECT, Quality.STUCK]
    _, found = play([HOT], *((n, 99.0, "b1", quality) for n, quality in enumerate(unbelieved)))
    assert found == []
    state, _ = play([HOT], (10, 75.0))
    _, found = play(
        [HOT],
        (11, None),
        *((12 + n, 20.0, "b1", quality) for n, quality in enumerate(unbelieved)),
        (20, float("nan")),
        (21, float("inf")),
        state=state,
    )
    assert found == []


def test_each_limit_can_be_reached_or_passed():
    for way, at, beyond in (
        ("above", 0, 1),
        ("at_least", 1, 1),
        ("below", 0, 0),
        ("at_most", 1, 0),
        ("equals", 1, 0),
    ):
        rule = {"id": "boiler.hot", "metric": "heat", way: {"red": 70}}
        assert len(play([rule], (0, 70.0))[1]) == at, way
        assert len(play([rule], (0, 71.0))[1]) == beyond, way


def test_a_duration_is_measured_in_the_devices_time_and_the_alarm_began_when_the_condition_did():
    _, found = play([SLOW], (0, 75.0), (5, 75.0), (9, 75.0), (10, 75.0))
    assert told(found) == [("began", "yellow", 0)]
    assert found[0].judged == T0 + 10_050


def test_a_good_sample_starts_the_duration_anew_and_an_unknown_one_does_not():
    _, found = play([SLOW], (0, 75.0), (5, 60.0), (6, 75.0), (11, None), (12, 75.0), (16, 75.0))
    assert told(found) == [("began", "yellow", 6)]


def test_a_duration_does_not_pass_in_a_gap_of_the_data():
    _, found = play([SLOW], (0, 75.0), (600, 75.0))
    assert found == []
    _, found = play([SLOW], (0, 75.0), (600, 75.0), (604, 75.0))
    assert told(found) == [("began", "yellow", 0)]


def test_how_long_a_sample_speaks_for_is_the_rules_to_say():
    _, found = play([{**SLOW, "gap_s": 10}], (0, 75.0), (600, 75.0))
    assert told(found) == [("began", "yellow", 0)]


def test_each_step_has_a_duration_of_its_own():
    rows = [(n, 75.0 if n < 6 else 95.0) for n in range(0, 20, 2)]
    _, found = play([SLOW], *rows)
    assert told(found) == [("began", "yellow", 0), ("worsened", "red", 6)]
    assert [t.judged - T0 for t in found] == [10_050, 16_050]


def test_a_standing_alarm_needs_no_duration_to_stay():
    state, _ = play([SLOW], (0, 75.0), (5, 75.0), (10, 75.0))
    _, found = play([SLOW], (11, 65.0), (12, 75.0), (13, 60.0), state=state)
    assert told(found) == [("ended", "yellow", 13)]


def test_a_stuck_value_may_tremble_but_not_creep():
    rows = [(n, 50 + 0.4 * (n // 10 % 2)) for n in range(0, 70, 10)]
    _, found = play([STUCK], *rows, (70, 51.0))
    assert told(found) == [("began", "yellow", 0), ("ended", "yellow", 70)]
    _, found = play([STUCK], *((n, 50 + 0.02 * n) for n in range(0, 300, 10)))
    assert found == []


def test_several_samples_of_a_device_in_one_frame_are_judged_in_time_order():
    shuffled = frame((3, 20.0), (1, 75.0), (2, 95.0), (1, 75.0, "b2"))
    _, found = engine(HOT).evaluate(State.empty(), shuffled, T0)
    mine = [t for t in found if t.device == "b1"]
    assert told(mine) == [("began", "yellow", 1), ("worsened", "red", 2), ("ended", "red", 3)]


def test_late_data_recovers_no_alarm_and_begins_none_that_pages():
    state, _ = play([HOT], (10, 75.0))
    state, found = play([HOT], (5, 20.0), state=state)
    assert found == []
    assert told(engine(HOT).active(state)) == [("began", "yellow", 10)]
    late = frame((3, 20.0), (4, 95.0), (5, 75.0), (6, 20.0))
    again, found = engine(HOT).evaluate(state, late, T0 + 20_000)
    assert told(found) == [("late began", "red", 4), ("late eased", "yellow", 5), ("late ended", "yellow", 6)]
    assert told(engine(HOT).active(again)) == [("began", "yellow", 10)]


def test_a_late_episode_of_which_the_end_is_not_known_ends_with_its_last_sample():
    state, _ = play([HOT], (10, 20.0))
    _, found = engine(HOT).evaluate(state, frame((4, 75.0), (5, 75.0)), T0 + 20_000)
    assert told(found) == [("late began", "yellow", 4), ("late ended", "yellow", 5)]


def test_late_data_has_to_last_as_long_as_any():
    state, _ = play([SLOW], (100, 20.0))
    _, found = engine(SLOW).evaluate(state, frame((4, 75.0), (8, 75.0)), T0)
    assert found == []
    _, found = engine(SLOW).evaluate(state, frame((4, 75.0), (9, 75.0), (14, 75.0)), T0)
    assert told(found) == [("late began", "yellow", 4), ("late ended", "yellow", 14)]


def test_what_came_before_tells_nothing_new_when_it_comes_again():
    rows = [(0, 20.0), (1, 75.0), (2, 75.0), (3, 20.0)]
    state, first = play([HOT], *rows)
    _, again = play([HOT], *rows, (3, 99.0), state=state)
    assert (len(first), again) == (2, [])
    state, _ = play([HOT], (5, 75.0), state=state)
    assert play([HOT], (5, 75.0), (6, 75.0), (5, 75.0), state=state)[1] == []


def test_silence_is_told_once_and_ends_with_a_new_value():
    judge = engine(SILENT)
    state = judge.expect(State.empty(), {"b1": "boiler", "b2": "boiler"}, T0)
    state, _ = judge.evaluate(state, frame((10, 20.0)), T0 + 10_000)
    assert judge.tick(state, T0 + 300_000) == (state, [])
    state, found = judge.tick(state, T0 + 301_000)
    assert [(t.device, *told([t])[0]) for t in found] == [("b2", "began", "blue", 0)]
    state, found = judge.tick(state, T0 + 311_000)
    assert [(t.device, *told([t])[0]) for t in found] == [("b1", "began", "blue", 10)]
    state, found = judge.evaluate(state, frame((312, None), (313, 20.0)), T0 + 313_000)
    assert told(found) == [("ended", "blue", 313)]
    assert [t.device for t in judge.active(state)] == ["b2"]


def test_silence_and_recovery_in_the_same_instant_are_told_in_that_order():
    judge, now = engine(SILENT), T0 + 301_000
    state = judge.expect(State.empty(), {"b1": "boiler"}, T0)
    state, began = judge.tick(state, now)
    state, ended = judge.evaluate(state, frame((301, 20.0)), now)
    assert told(began + ended) == [("began", "blue", 0), ("ended", "blue", 301)]
    assert judge.tick(state, now)[1] == []


def test_what_was_known_already_is_no_sign_of_life():
    judge = engine(SILENT)
    state, _ = judge.evaluate(State.empty(), frame((10, 20.0)), T0 + 10_000)
    state, _ = judge.tick(state, T0 + 400_000)
    state, found = judge.evaluate(state, frame((10, 20.0), (5, 20.0)), T0 + 401_000)
    assert found == []
    assert len(judge.active(state)) == 1


def test_an_unbelieved_value_is_a_sign_of_life_and_an_answer_without_value_is_none():
    judge = engine(SILENT)
    state = judge.expect(State.empty(), {"b1": "boiler", "b2": "boiler"}, T0)
    rows = frame((250, 900.0, "b1", Quality.IMPLAUSIBLE), (250, None, "b2", Quality.DEVICE_FAULT))
    state, _ = judge.evaluate(state, rows, T0 + 250_000)
    _, found = judge.tick(state, T0 + 301_000)
    assert [t.device for t in found] == ["b2"]


def test_the_platforms_own_silence_is_not_the_devices():
    judge = engine(SILENT)
    state = judge.expect(State.empty(), {"b1": "boiler"}, T0)
    state = judge.expect(state, {"b1": "boiler"}, T0 + 9_000_000)
    assert judge.tick(state, T0 + 9_000_001)[1] == []
    state, found = judge.tick(state, T0 + 9_301_000)
    assert len(found) == 1
    state = judge.expect(state, {"b1": "boiler"}, T0 + 9_400_000)
    assert len(judge.active(state)) == 1


def test_time_alone_begins_no_alarm_of_a_condition():
    judge = engine(SLOW, STUCK)
    state, _ = judge.evaluate(State.empty(), frame((0, 75.0)), T0)
    assert judge.tick(state, T0 + 10**9)[1] == []


def test_a_device_that_is_no_longer_registered_is_not_waited_for_and_its_alarms_end():
    judge = engine(HOT, SILENT)
    state = judge.expect(State.empty(), {"b1": "boiler", "b2": "boiler"}, T0)
    state, _ = judge.evaluate(state, frame((1, 75.0), (1, 75.0, "b2")), T0 + 1000)
    state = judge.expect(state, {"b2": "boiler"}, T0 + 2000)
    state, found = judge.tick(state, T0 + 3000)
    assert [(t.device, *told([t])[0]) for t in found] == [("b1", "ended", "yellow", 3)]
    assert [t.device for t in judge.active(state)] == ["b2"]
    _, found = judge.tick(state, T0 + 999_000)
    assert [t.device for t in found] == ["b2"]


def test_a_class_without_rules_is_not_judged():
    state = State.empty()
    assert engine().evaluate(state, frame((0, 99.0)), T0) == (state, [])
