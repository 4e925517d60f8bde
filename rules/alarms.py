"""The life of one rule's alarms: what a new severity means, spelled as a :class:`Transition`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from rules.state import Alarm, RuleState
from telemetry.readings import DeviceId, MetricName
from telemetry.severity import Severity
from telemetry.transitions import Change, RuleId, Transition, alarm_id, transition_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from rules.conditions import Condition, Seen
    from rules.pack import Rule


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
    unit: str
    condition: Condition | None  # None for no_data
    retrospective: bool = False

    def sweep(
        self, memory: RuleState, seen: Seen, names: Callable[[int], str], now_ms: int
    ) -> list[Transition]:
        """Judge one sample of each device; ``names`` tells the device of the nth."""
        if self.condition is None or not len(seen.places):
            return []
        memory.put("judged", seen.places, seen.times)
        level = self.condition.judge(memory, seen)
        found = []
        for n in np.flatnonzero(level != seen.standing).tolist():
            place, time, value = int(seen.places[n]), int(seen.times[n]), float(seen.values[n])
            found.append(self.change(memory, Moment(place, names(n), time, value, now_ms), int(level[n])))
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
            limit=self._limit(severity),
        )
        memory.stand(at.place, Alarm(alarm.began, alarm.ordinal + 1, told))
        return told

    def begin(self, memory: RuleState, at: Moment, severity: Severity, began: int) -> Transition:
        """Tell that an alarm began at ``began`` (UTC ms)."""
        alarm = alarm_id(at.device, self.rule.id, began)
        told = Transition(
            id=transition_id(alarm, 0),
            alarm=alarm,
            change=Change.BEGAN,
            device=DeviceId(at.device),
            device_class=self.device_class,
            rule=RuleId(self.rule.id),
            metric=MetricName(self.rule.metric),
            severity=severity,
            category=self.rule.category,
            title=self.rule.title,
            time=began,
            judged=at.now_ms,
            value=at.value,
            limit=self._limit(severity),
            unit=self.unit,
            retrospective=self.retrospective,
        )
        memory.stand(at.place, Alarm(began, 0, told))
        return told

    def _since(self, memory: RuleState, at: Moment, severity: Severity | None = None) -> int:
        if self.condition is None:
            return at.time
        return self.condition.came_true(memory, at.place, at.time, severity)

    def _limit(self, severity: Severity) -> float | None:
        return None if self.condition is None else self.condition.limit(severity)


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
    )
    memory.end(at.place, time)
    return told
