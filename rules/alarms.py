"""The life of one rule's alarms: what a new severity means, spelled as a :class:`Transition`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from rules.state import Alarm, RuleState
from rules.whens import Varied
from telemetry.readings import DeviceId, MetricName
from telemetry.severity import Severity
from telemetry.transitions import Change, Guidance, RuleId, Transition, alarm_id, transition_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from rules.conditions import Condition, Seen
    from rules.pack import Rule


SHADOW = "shadow/"
"""Before the id of a rule whose pack is a shadow."""


CHATTER_BEGINS, CHATTER_MS = 3, 600_000
"""An alarm that begins for the third time within ten minutes chatters.  ISA-18.2 practice is three in a minute, of signals
that are scanned each second; ours are polled every ten."""
FLEETING_MS = 60_000
"""An alarm that ends within a minute was gone before anybody could act on it."""


class Moment(NamedTuple):
    """One sample of one device, or the lack of one, at which something changes."""

    place: int  # of the device in the rule's memory
    device: str
    time: int  # UTC ms, of the device
    value: float | None
    now_ms: int


@dataclass(frozen=True)
class Teller:
    """Writes the transitions of one rule and keeps its memory of alarms in step."""

    rule: Rule
    device_class: str
    metric: str
    unit: str
    condition: Condition | None  # None for no_data
    shadow: bool = False
    retrospective: bool = False

    @property
    def key(self) -> str:
        """Under which the rule's memory is kept and its alarms are known: a shadow has its own."""
        return f"{SHADOW}{self.rule.id}" if self.shadow else self.rule.id

    def sweep(
        self, memory: RuleState, seen: Seen, names: Callable[[int], str], now_ms: int
    ) -> list[Transition]:
        """Judge one sample of each device; ``names`` tells the device of the nth."""
        if self.condition is None or not len(seen.places):
            return []
        level = self.condition.judge(memory, seen)
        found = []
        for n in np.flatnonzero(level != seen.standing).tolist():
            place, time, value = int(seen.places[n]), int(seen.times[n]), float(seen.values[n])
            at = Moment(place, names(n), time, None if math.isnan(value) else value, now_ms)
            found.append(self.change(memory, at, int(level[n])))
        return found

    def change(self, memory: RuleState, at: Moment, level: int) -> Transition:
        """Tell that a sample has brought a device to another ``level``, 0 for none."""
        alarm = memory.standing.get(at.place)
        if alarm is not None and level == 0:
            return end(memory, at, alarm)
        severity = Severity(level)
        if alarm is None:
            return self.begin(memory, at, severity, self._since(memory, at))
        worse = severity > alarm.latest.severity
        told = msgspec.structs.replace(
            alarm.latest,
            id=transition_id(alarm.latest.alarm, alarm.ordinal + 1),
            change=Change.WORSENED if worse else Change.EASED,
            severity=severity,
            title=self.rule.title,
            time=self._since(memory, at, severity) if worse else at.time,
            judged=at.now_ms,
            value=at.value,
            limit=self._limit(memory, at.place, severity),
        )
        memory.stand(at.place, Alarm(alarm.began, alarm.ordinal + 1, told))
        return told

    def begin(self, memory: RuleState, at: Moment, severity: Severity, began: int) -> Transition:
        """Tell that an alarm began at ``began`` (UTC ms)."""
        alarm = alarm_id(at.device, self.key, began)
        bouts = memory.begin(at.place, began)
        told = Transition(
            id=transition_id(alarm, 0),
            alarm=alarm,
            change=Change.BEGAN,
            device=DeviceId(at.device),
            device_class=self.device_class,
            rule=RuleId(self.rule.id),
            metric=MetricName(self.metric),
            severity=severity,
            category=self.rule.category,
            title=self.rule.title,
            time=began,
            judged=at.now_ms,
            value=at.value,
            limit=self._limit(memory, at.place, severity),
            unit=self.unit,
            retrospective=self.retrospective,
            shadow=self.shadow,
            chattering=len(bouts) == CHATTER_BEGINS and began - bouts[0] <= CHATTER_MS,
            guidance=_guidance(self.rule),
            labels=self.rule.labels,
        )
        memory.stand(at.place, Alarm(began, 0, told))
        return told

    def _since(self, memory: RuleState, at: Moment, severity: Severity | None = None) -> int:
        if self.condition is None:
            return at.time
        return self.condition.came_true(memory, at.place, at.time, severity)

    def _limit(self, memory: RuleState, place: int, severity: Severity) -> float | None:
        if self.condition is None:
            return None
        condition = self.condition.at(memory, place) if isinstance(self.condition, Varied) else self.condition
        return condition.limit(severity)


def _guidance(rule: Rule) -> Guidance | None:
    if not (rule.cause or rule.consequence or rule.advice):
        return None
    return Guidance(rule.cause, rule.consequence, rule.advice)


def end(memory: RuleState, at: Moment, alarm: Alarm) -> Transition:
    """Tell that a standing alarm has ended: at the moment's time, or when it began if that is later."""
    time = max(at.time, alarm.began)
    told = msgspec.structs.replace(
        alarm.latest,
        id=transition_id(alarm.latest.alarm, alarm.ordinal + 1),
        change=Change.ENDED,
        time=time,
        judged=at.now_ms,
        value=at.value,
        fleeting=time - alarm.began < FLEETING_MS and not alarm.latest.retrospective,
    )
    memory.end(at.place, time)
    return told
