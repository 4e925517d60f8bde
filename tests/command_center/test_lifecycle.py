"""The life of an alarm ends the same whatever the order of its news."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from command_center.lifecycle import acknowledge, apply
from telemetry.errors import Refused
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import Category, Change, Transition, alarm_id, transition_id

T0 = 1_764_000_000_000


def transition(
    ordinal, change, severity=Severity.RED, *, device="d", rule="r", began=T0, retrospective=False
):
    alarm = alarm_id(device, rule, began)
    return Transition(
        id=transition_id(alarm, ordinal), alarm=alarm, change=change, device=device, device_class="ev_charger", rule=rule,
        metric="temperature", severity=severity, category=Category.FIRE, title=Text("甲", "A"), time=began + ordinal * 1000,
        judged=began, value=90.0 + ordinal, limit=85.0, unit="degC", retrospective=retrospective,
    )  # fmt: skip


LIFE = [
    transition(0, Change.BEGAN, Severity.ORANGE),
    transition(1, Change.WORSENED, Severity.RED),
    transition(2, Change.EASED, Severity.YELLOW),
    transition(3, Change.ENDED, Severity.YELLOW),
]


def live(transitions):
    alarm = None
    for number, one in enumerate(transitions):
        alarm = apply(alarm, one, T0 if alarm is None else T0 + number)
    return alarm


@given(order=st.permutations(LIFE), again=st.lists(st.sampled_from(LIFE), max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_order_and_repetition_ends_in_the_same_alarm(order, again):
    assert live([*order, *again]) == live(LIFE)


def test_the_life_has_the_names_of_isa_18_2():
    alarm = live(LIFE[:1])
    assert (alarm.state, alarm.isa) == ("unacknowledged", "unacknowledged alarm")
    seen = acknowledge(alarm, "王", "", T0)
    assert (seen.state, seen.isa) == ("acknowledged", "acknowledged alarm")
    assert apply(seen, LIFE[3], T0).state == "closed"
    over = live(LIFE)
    assert (over.state, over.isa, over.worst) == (
        "ended_unacknowledged",
        "returned to normal, unacknowledged",
        Severity.RED,
    )
    assert acknowledge(over, "王", "", T0).state == "closed"


def test_the_second_to_acknowledge_is_told_who_was_first():
    with pytest.raises(Refused, match="already acknowledged by 王"):
        acknowledge(acknowledge(live(LIFE), "王", "", T0), "李", "", T0)


def test_what_is_retrospective_asks_nobody_for_anything():
    late = [transition(0, Change.BEGAN, retrospective=True), transition(1, Change.ENDED, retrospective=True)]
    assert live(late).state == "closed"
