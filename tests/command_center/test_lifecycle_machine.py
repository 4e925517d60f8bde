"""Every deed and every transition in every state: an alarm or a refusal, and never a forgotten region."""

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from test_lifecycle import T0, transition

from command_center import lifecycle
from command_center.deeds import Deed, perform
from telemetry.errors import Refused
from telemetry.severity import Severity
from telemetry.transitions import Category, Change

PEOPLE = st.sampled_from(["王", "李"])
NAMES = {
    "unacknowledged alarm", "acknowledged alarm", "latched, unacknowledged", "latched, acknowledged",
    "returned to normal, unacknowledged", "normal", "shelved", "suppressed by design", "out of service",
}  # fmt: skip


class AlarmMachine(RuleBasedStateMachine):
    """A model of three flags beside the alarm; both must always agree."""

    def __init__(self):
        super().__init__()
        self.alarm = lifecycle.apply(
            None, transition(0, Change.BEGAN, Severity.YELLOW), T0, latching=frozenset({Category.FIRE})
        )
        self.ordinal, self.worst = 0, Severity.YELLOW
        self.active, self.latched, self.seen = True, False, False
        self.shelved = self.serviced = self.designed = False
        self.owner = None

    def do(self, kind, who="王", *, allowed, **more):
        """Do it; it must be refused exactly when the model says so, and then leave everything alone."""
        try:
            after = perform(self.alarm, Deed(kind, **{"text": "words", **more}), who, T0)
        except Refused:
            assert not allowed, f"{kind} refused in {self.alarm.state}"
            return False
        assert allowed, f"{kind} allowed in {self.alarm.state}"
        self.alarm = after
        return True

    @property
    def open(self):
        return self.active or self.latched or not self.seen

    @precondition(lambda self: self.active)
    @rule(severity=st.sampled_from(list(Severity)))
    def changes(self, severity):
        self.ordinal, self.designed = self.ordinal + 1, False
        change = Change.WORSENED if severity > self.alarm.severity else Change.EASED
        self.alarm = lifecycle.apply(self.alarm, transition(self.ordinal, change, severity), T0)
        if severity > self.worst:
            self.worst, self.seen = severity, False

    @precondition(lambda self: self.active)
    @rule()
    def ends(self):
        self.ordinal, self.designed = self.ordinal + 1, False
        self.alarm = lifecycle.apply(
            self.alarm, transition(self.ordinal, Change.ENDED, self.alarm.severity), T0
        )
        self.active, self.latched = False, True

    @rule(ordinal=st.integers(0, 5))
    def hears_old_news(self, ordinal):
        if ordinal <= self.ordinal:
            before = self.alarm
            old = transition(ordinal, Change.BEGAN, Severity.BLUE)
            self.alarm = lifecycle.apply(self.alarm, old, T0)
            assert self.alarm == before

    @rule(who=PEOPLE)
    def acknowledge(self, who):
        if self.do("acknowledge", who, allowed=not self.seen):
            self.seen = True

    @rule()
    def take_back(self):
        if self.do("take_back", allowed=self.seen and self.open):
            self.seen = False

    @rule(who=PEOPLE, to=PEOPLE)
    def assign(self, who, to):
        if self.do("assign", who, to=to, allowed=self.open and self.owner != to):
            self.owner, self.seen = to, self.seen or who == to

    @rule()
    def shelve(self):
        if self.do("shelve", allowed=self.open and not self.shelved):
            self.shelved = True

    @rule()
    def unshelve(self):
        if self.do("unshelve", allowed=self.shelved):
            self.shelved = False

    @rule()
    def withdraw(self):
        if self.do("withdraw", allowed=not self.serviced):
            self.serviced = True

    @rule()
    def restore(self):
        if self.do("restore", allowed=self.serviced):
            self.serviced = False

    @rule(cause=st.sampled_from([None, "cabinet"]))
    def logic(self, cause):
        if self.active:
            self.ordinal += 1
            change = Change.EASED if cause else Change.RELEASED
            news = msgspec.structs.replace(
                transition(self.ordinal, change, self.alarm.severity), suppressed_by=cause or ""
            )
            self.alarm, self.designed = lifecycle.apply(self.alarm, news, T0), cause is not None

    @rule()
    def reset(self):
        if self.do("reset", allowed=self.latched and self.seen):
            self.latched = False

    @rule()
    def comment(self):
        before = self.alarm
        self.do("comment", allowed=True)
        assert self.alarm == before

    @invariant()
    def the_three_regions_are_as_the_model_has_them(self):
        alarm = self.alarm
        condition = "active" if self.active else "latched" if self.latched else "returned"
        assert alarm.condition == condition
        assert (alarm.acknowledged_by is not None) is self.seen
        expected = (
            "out_of_service"
            if self.serviced
            else "by_design"
            if self.designed
            else "shelved"
            if self.shelved
            else "none"
        )
        assert alarm.suppression == expected
        assert alarm.is_open is self.open
        assert alarm.asks is (self.open and not self.seen and expected == "none")
        assert (alarm.worst, alarm.isa in NAMES) == (self.worst, True)
        if expected != "none" and self.open:
            assert (
                alarm.isa
                == {
                    "shelved": "shelved",
                    "by_design": "suppressed by design",
                    "out_of_service": "out of service",
                }[expected]
            )


AlarmMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestEveryStateAndEveryEvent = AlarmMachine.TestCase
