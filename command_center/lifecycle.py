"""The life of an alarm, after ISA-18.2 and OPC UA Part 9: three regions that know nothing of each other.

::

    condition        active ──ended──▶ returned              a latching category: active ──ended──▶ latched ──reset──▶ returned
    acknowledgement  none ──acknowledge──▶ acknowledged ──take back, or the alarm worsens──▶ none
    suppression      none ◀─▶ shelved (a person, a reason, an end) · by_design (logic) · out_of_service (a person, an end)

The names of ISA-18.2 are derived from the three for display.  A suppressed alarm goes on living: its
condition, acknowledgement and journal stay whole, it only asks nobody for anything.

Pure.  Transitions may come late, twice and in any order: the one with the greatest ordinal decides, so every
order ends in the same alarm.  What is retrospective goes to the record and asks nobody for anything.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from telemetry.errors import Refused
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import Category, Change, Guidance, Transition

Condition = Literal["active", "latched", "returned"]
Suppression = Literal["none", "shelved", "by_design", "out_of_service"]
State = Literal[
    "unacknowledged",
    "acknowledged",
    "latched_unacknowledged",
    "latched_acknowledged",
    "ended_unacknowledged",
    "closed",
]
_ISA: dict[State, str] = {
    "unacknowledged": "unacknowledged alarm",
    "acknowledged": "acknowledged alarm",
    "latched_unacknowledged": "latched, unacknowledged",
    "latched_acknowledged": "latched, acknowledged",
    "ended_unacknowledged": "returned to normal, unacknowledged",
    "closed": "normal",
}
_ISA_SUPPRESSED = {
    "shelved": "shelved",
    "by_design": "suppressed by design",
    "out_of_service": "out of service",
}
CHATTERS_FROM = 3
"""So many activations of one rule on one device, each within a minute of the last, are chattering."""


class Hold(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person's decision that an alarm asks nobody for a while.  Times are UTC ms."""

    by: str
    reason: str
    since_ms: int
    until_ms: int
    until_resolved: bool = False


class Alarm(msgspec.Struct, frozen=True):
    """One occurrence of one rule on one device.  Times are UTC ms; ``value`` and ``limit`` are in ``unit``."""

    id: str
    device: str
    device_class: str
    rule: str
    metric: str
    severity: Severity
    worst: Severity
    category: Category
    title: Text
    ordinal: int
    active: bool
    began_ms: int
    changed_ms: int
    received_ms: int
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    ended_ms: int | None = None
    acknowledged_by: str | None = None
    acknowledged_ms: int | None = None
    comment: str | None = None
    retrospective: bool = False
    version: int = 0
    """Counts what was saved; a person's deed names the version it was decided on."""
    latching: bool = False
    reset_by: str | None = None
    assigned_to: str | None = None
    shelf: Hold | None = None
    service: Hold | None = None
    by_design: str | None = None
    """Which logic suppresses it, such as the alarm of the cabinet that feeds it."""
    repeats: int = 0
    """How many activations of the same rule on the same device came before, each within a minute of the last."""
    shadow: bool = False
    """Found by a rule on trial: recorded, shown to nobody who did not ask."""
    because: Text | None = None
    guidance: Guidance | None = None

    @property
    def condition(self) -> Condition:
        """What the street says."""
        if self.active:
            return "active"
        return "latched" if self.latching and self.reset_by is None and self.pages else "returned"

    @property
    def suppression(self) -> Suppression:
        """Why it asks nobody; where several hold, the one that a person must undo first."""
        if self.service:
            return "out_of_service"
        if self.by_design:
            return "by_design"
        return "shelved" if self.shelf else "none"

    @property
    def state(self) -> State:
        """Where it is in its life, whatever suppresses it."""
        seen = self.acknowledged_by is not None
        match self.condition:
            case "active":
                return "acknowledged" if seen else "unacknowledged"
            case "latched":
                return "latched_acknowledged" if seen else "latched_unacknowledged"
            case _:
                return "closed" if seen or not self.pages else "ended_unacknowledged"

    @property
    def isa(self) -> str:
        """The state's name in ISA-18.2."""
        if self.suppression != "none" and self.state != "closed":
            return _ISA_SUPPRESSED[self.suppression]
        return _ISA[self.state]

    @property
    def is_open(self) -> bool:
        """Whether it is still somebody's business."""
        return self.state != "closed"

    @property
    def pages(self) -> bool:
        """Whether it is news: not from late data, and not by a rule on trial."""
        return not self.retrospective and not self.shadow

    @property
    def asks(self) -> bool:
        """Whether a person has to be told and to answer."""
        return self.is_open and self.acknowledged_by is None and self.suppression == "none" and self.pages

    @property
    def chattering(self) -> bool:
        """Whether it comes and goes faster than anyone can act."""
        return self.repeats + 1 >= CHATTERS_FROM


def ordinal_of(transition: Transition) -> int:
    """Return which of its alarm's transitions this is, ``began`` being 0."""
    return int(transition.id.rsplit("-", 1)[1])


def apply(
    alarm: Alarm | None,
    transition: Transition,
    received_ms: int,
    *,
    latching: frozenset[Category] = frozenset(),
) -> Alarm:
    """Return the alarm after a transition of it.

    When it becomes worse than what a person acknowledged, it asks anew.
    """
    ordinal = ordinal_of(transition)
    ended = transition.change is Change.ENDED
    if alarm is None:
        return Alarm(
            id=transition.alarm, device=transition.device, device_class=transition.device_class, rule=transition.rule,
            metric=transition.metric, severity=transition.severity, worst=transition.severity, category=transition.category,
            title=transition.title, ordinal=ordinal, active=not ended, began_ms=transition.time, changed_ms=transition.time,
            received_ms=received_ms, value=transition.value, limit=transition.limit, unit=transition.unit,
            ended_ms=transition.time if ended else None, retrospective=transition.retrospective,
            latching=transition.category in latching, by_design=transition.suppressed_by or None, shadow=transition.shadow,
            because=transition.because, guidance=transition.guidance,
        )  # fmt: skip
    worst, began = max(alarm.worst, transition.severity), min(alarm.began_ms, transition.time)
    if worst > alarm.worst and alarm.acknowledged_by:
        alarm = msgspec.structs.replace(alarm, acknowledged_by=None, acknowledged_ms=None, comment=None)
    if ordinal <= alarm.ordinal:
        return msgspec.structs.replace(alarm, worst=worst, began_ms=began)
    return msgspec.structs.replace(
        alarm, ordinal=ordinal, severity=transition.severity, worst=worst, active=not ended, began_ms=began,
        changed_ms=transition.time, ended_ms=transition.time if ended else None, value=transition.value, limit=transition.limit,
        by_design=transition.suppressed_by or None, because=transition.because or alarm.because,
        guidance=transition.guidance or alarm.guidance,
    )  # fmt: skip


def supersede(alarm: Alarm, began_ms: int) -> Alarm:
    """Return a standing alarm as ended by the next occurrence of the same rule on the same device.

    Its own end is still to come and may correct this.
    """
    return msgspec.structs.replace(alarm, active=False, ended_ms=began_ms)


def acknowledge(alarm: Alarm, name: str, comment: str, now_ms: int) -> Alarm:
    """Return the alarm acknowledged by ``name``; raise :class:`Refused` when somebody was first."""
    if alarm.acknowledged_by:
        raise Refused(f"already acknowledged by {alarm.acknowledged_by}")
    if not alarm.pages and not alarm.active:
        raise Refused("it came from late data and is over; there is nothing to acknowledge")
    return msgspec.structs.replace(
        alarm, acknowledged_by=name, acknowledged_ms=now_ms, comment=comment or None
    )


def take_back(alarm: Alarm) -> Alarm:
    """Return the alarm with its acknowledgement taken back, so that it asks again."""
    if not alarm.acknowledged_by:
        raise Refused("nobody has acknowledged it")
    if not alarm.is_open:
        raise Refused("it is closed")
    return msgspec.structs.replace(alarm, acknowledged_by=None, acknowledged_ms=None, comment=None)


def assign(alarm: Alarm, who: str, to: str, now_ms: int) -> Alarm:
    """Return the alarm as ``to``'s business; who takes it himself has seen it."""
    if not alarm.is_open:
        raise Refused("it is closed")
    if alarm.assigned_to == to:
        raise Refused(f"it is {to}'s already")
    if who == to and alarm.acknowledged_by is None and alarm.pages:
        alarm = acknowledge(alarm, who, "", now_ms)
    return msgspec.structs.replace(alarm, assigned_to=to)


def shelve(alarm: Alarm, hold: Hold) -> Alarm:
    """Return the alarm shelved by a person, with a reason and an end."""
    if not alarm.is_open:
        raise Refused("it is closed")
    if alarm.shelf:
        raise Refused(f"already shelved by {alarm.shelf.by}")
    return msgspec.structs.replace(alarm, shelf=hold)


def unshelve(alarm: Alarm) -> Alarm:
    """Return the alarm back from the shelf, asking again if nobody acknowledged it."""
    if alarm.shelf is None:
        raise Refused("it is not shelved")
    return msgspec.structs.replace(alarm, shelf=None)


def withdraw(alarm: Alarm, hold: Hold) -> Alarm:
    """Return the alarm out of service: its device is being worked on."""
    if alarm.service:
        raise Refused(f"already taken out of service by {alarm.service.by}")
    return msgspec.structs.replace(alarm, service=hold)


def restore(alarm: Alarm) -> Alarm:
    """Return the alarm back in service."""
    if alarm.service is None:
        raise Refused("it is in service")
    return msgspec.structs.replace(alarm, service=None)


def reset(alarm: Alarm, name: str) -> Alarm:
    """Return a latched alarm as released by a person who has looked; it closes."""
    if alarm.condition != "latched":
        raise Refused("it still stands" if alarm.active else "it is not latched")
    if alarm.acknowledged_by is None:
        raise Refused("acknowledge it first")
    return msgspec.structs.replace(alarm, reset_by=name)
