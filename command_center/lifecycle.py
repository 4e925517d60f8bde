"""The life of an alarm, after ISA-18.2: two regions that know nothing of each other, active and acknowledged.

::

                    began ▼
              ┌─ unacknowledged ──acknowledge──▶ acknowledged ─┐
         ended▼                                                ▼ended
        ended_unacknowledged ──────acknowledge──────────────▶ closed

Pure.  Transitions may come late, twice and in any order: the one with the greatest ordinal decides, so every
order ends in the same alarm.  What is retrospective goes to the record and asks nobody for anything.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from telemetry.errors import Refused
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import Category, Change, Transition

State = Literal["unacknowledged", "acknowledged", "ended_unacknowledged", "closed"]
_ISA = {
    "unacknowledged": "unacknowledged alarm",
    "acknowledged": "acknowledged alarm",
    "ended_unacknowledged": "returned to normal, unacknowledged",
    "closed": "normal",
}


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

    @property
    def state(self) -> State:
        """Where it is in its life."""
        if self.retrospective and not self.active:
            return "closed"
        if self.active:
            return "acknowledged" if self.acknowledged_by else "unacknowledged"
        return "closed" if self.acknowledged_by else "ended_unacknowledged"

    @property
    def isa(self) -> str:
        """The state's name in ISA-18.2."""
        return _ISA[self.state]


def ordinal_of(transition: Transition) -> int:
    """Return which of its alarm's transitions this is, ``began`` being 0."""
    return int(transition.id.rsplit("-", 1)[1])


def apply(alarm: Alarm | None, transition: Transition, received_ms: int) -> Alarm:
    """Return the alarm after a transition of it."""
    ordinal = ordinal_of(transition)
    ended = transition.change is Change.ENDED
    if alarm is None:
        return Alarm(
            id=transition.alarm, device=transition.device, device_class=transition.device_class, rule=transition.rule,
            metric=transition.metric, severity=transition.severity, worst=transition.severity, category=transition.category,
            title=transition.title, ordinal=ordinal, active=not ended, began_ms=transition.time, changed_ms=transition.time,
            received_ms=received_ms, value=transition.value, limit=transition.limit, unit=transition.unit,
            ended_ms=transition.time if ended else None, retrospective=transition.retrospective,
        )  # fmt: skip
    worst, began = max(alarm.worst, transition.severity), min(alarm.began_ms, transition.time)
    if ordinal <= alarm.ordinal:
        return msgspec.structs.replace(alarm, worst=worst, began_ms=began)
    return msgspec.structs.replace(
        alarm, ordinal=ordinal, severity=transition.severity, worst=worst, active=not ended, began_ms=began,
        changed_ms=transition.time, ended_ms=transition.time if ended else None, value=transition.value, limit=transition.limit,
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
    return msgspec.structs.replace(
        alarm, acknowledged_by=name, acknowledged_ms=now_ms, comment=comment or None
    )
