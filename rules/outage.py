"""Outage: many silent devices with one cause are one page.

::

    area ─ feeder ─ site ─ agent ─ bus ─ device

When a device is missed, its neighbours are asked: if all that hang on its agent are dark, it is the agent; if several
agents of its site are, and hardly anything there speaks, it is the site; and so on up.  The outage is an alarm of its own,
and the devices' no-data alarms name it in ``suppressed_by``: they are told, kept, ended as ever, and page no one.
Only silence is ever suppressed.  When the outage is over, what is still silent is *released* and pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from rules.alarms import Moment, end
from rules.state import NEVER, Alarm, RuleState
from telemetry.readings import DeviceId, MetricName
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import AlarmId, Category, Change, RuleId, Transition, alarm_id, transition_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from rules.silence import Silence
    from rules.state import ClassState, State
    from rules.topology import Topology

OUTAGE = "outage"
"""The class under which outages are kept in the state; their devices are named ``site:s10``."""
_LEVELS: Mapping[str, tuple[Severity, str, str]] = {
    "area": (Severity.RED, "片区", "area"),
    "feeder": (Severity.ORANGE, "馈线", "feeder"),
    "site": (Severity.ORANGE, "站点", "site"),
    "agent": (Severity.YELLOW, "网关", "agent"),
    "bus": (Severity.YELLOW, "总线", "bus"),
}
_SLACK_MS = 30_000
"""Between what devices of one outage said last, beside their reporting period: messages take their way."""
_DARK_MS, _PERIODS = 60_000, 2
"""A device is dark after two of its periods, and after a minute at least."""
_ALIVE_SHARE, _OVER_SHARE = 0.2, 0.5
_RELEASE_MS = 120_000


class _Row(NamedTuple):
    """Where a device is in the state."""

    silence: Silence
    place: int
    name: str


@dataclass(frozen=True)
class _View:
    """All devices that are waited for, whatever their class; every array has shape (n,)."""

    rows: Sequence[_Row]
    heard: NDArray[np.int64]  # a value, or that it has been waited for since the platform started
    last: NDArray[np.int64]  # the same, or when anything came about it
    spoke: NDArray[np.int64]  # when anything came about it, NEVER if nothing
    valued: NDArray[np.int64]  # when a value came
    link: NDArray[np.bool_]  # its bus could not be opened
    due: NDArray[np.bool_]  # is to be missed now
    wait: NDArray[np.int64]  # its period, ms
    groups: Mapping[str, NDArray[np.intp]]

    @classmethod
    def of(
        cls, state: State, silences: Mapping[str, Sequence[Silence]], topology: Topology, now_ms: int
    ) -> _View:
        rows: list[_Row] = []
        parts: list[NDArray[np.int64]] = [np.zeros((6, 0), np.int64)]
        for name, of_class in silences.items():
            silence = next((s for s in of_class if s.is_grouped), None)
            part = state.classes.get(name)
            if silence is None or part is None or silence.key not in part.rules:
                continue
            memory, names = part.rules[silence.key], list(part.devices)
            heard, told, alive, link = (memory.columns[name] for name in ("heard", "told", "alive", "link"))
            some = np.flatnonzero(heard != NEVER)
            rows += [_Row(silence, place, names[place]) for place in some.tolist()]
            due = silence.overdue(memory, now_ms)
            parts.append(np.stack([heard, np.maximum(heard, told), told, alive, link, due])[:, some])
        heard, last, spoke, valued, link, due = np.concatenate(parts, axis=1)
        devices = [row.name for row in rows]
        groups = {level: topology.numbers(level, devices) for level in _LEVELS}
        groups["bus"] = np.where(link == 1, groups["bus"], -1)
        wait = topology.periods_ms(devices)
        return cls(rows, heard, last, spoke, valued, link == 1, due.astype(bool), wait, groups)

    def dark(self, level: str, now_ms: int) -> NDArray[np.bool_]:
        """Return what has said nothing for too long; on a bus the agent's own word does not count."""
        last = self.heard if level == "bus" else self.last
        dark: NDArray[np.bool_] = now_ms - last > np.maximum(_PERIODS * self.wait, _DARK_MS)
        return dark

    def alive(self, level: str, since_ms: int) -> NDArray[np.bool_]:
        """Return what has spoken since an outage that began at ``since_ms``."""
        last = self.valued if level == "bus" else self.spoke
        alive: NDArray[np.bool_] = last > since_ms + self.wait + _SLACK_MS
        return alive

    def members(self, level: str, group: int) -> NDArray[np.bool_]:
        """Return the devices of a group."""
        mine: NDArray[np.bool_] = self.groups[level] == group
        return mine


class Outages:
    """What :meth:`rules.engine.Engine.tick` asks."""

    def __init__(self, silences: Mapping[str, Sequence[Silence]]) -> None:
        self._silences = silences

    def is_quiet(self, state: State) -> bool:
        """Return whether no outage stands and no alarm waits for one to end."""
        if OUTAGE not in state.classes:
            return True
        return not any(memory.standing for memory in state.classes[OUTAGE].rules.values()) and not any(
            alarm.latest.suppressed_by
            for name, silences in self._silences.items()
            for silence in silences
            if name in state.classes and silence.key in state.classes[name].rules
            for alarm in state.classes[name].rules[silence.key].standing.values()
        )

    def tick(self, state: State, topology: Topology, now_ms: int) -> tuple[State, list[Transition]]:
        """Tell which outages and silences began and ended; of one class's state only if anything did."""
        view = _View.of(state, self._silences, topology, now_ms)
        work = _Work(state, view, topology, now_ms)
        work.end_what_is_over()
        for n in np.flatnonzero(view.due).tolist():
            work.miss(n)
        work.release()
        return work.state, work.found


class _Work:
    """One tick."""

    def __init__(self, state: State, view: _View, topology: Topology, now_ms: int) -> None:
        self.state, self.found = state, list[Transition]()
        self._view, self._topology, self._now = view, topology, now_ms
        self._mine: dict[str, ClassState] = {}

    def miss(self, n: int) -> None:
        """Tell that a device is silent, under the outage that it belongs to."""
        row = self._view.rows[n]
        level, parent = self._parent(n)
        memory = row.silence.memory(self._part(row.silence.teller.device_class))
        heard = int(self._view.heard[n])
        told = row.silence.teller.begin(
            memory, Moment(row.place, row.name, self._now, None, self._now), row.silence.severity, heard
        )
        told = msgspec.structs.replace(told, origin=level, suppressed_by=parent)
        memory.stand(row.place, Alarm(heard, 0, told))
        self.found.append(told)

    def end_what_is_over(self) -> None:
        """End the outages of which half or more of the devices speak again."""
        for place, alarm in list(self._outages().standing.items()):
            level, name = alarm.latest.device.split(":", 1)
            members = self._view.members(level, self._number(level, name))
            still = members & ~self._view.alive(level, alarm.began)
            # On a bus are, as far as anybody knows, those of which the agent says that it cannot be opened.
            size = (alarm.latest.value or 0) if level == "bus" else members.sum()
            if still.sum() <= _OVER_SHARE * size:
                self.found.append(
                    end(
                        self._outages(writing=True),
                        Moment(place, alarm.latest.device, self._now, None, self._now),
                        alarm,
                    )
                )

    def release(self) -> None:
        """Let the silences page that have outlasted their outage."""
        outages = self._outages()
        standing = {alarm.latest.alarm for alarm in outages.standing.values()}
        names = list(self.state.classes[OUTAGE].devices) if OUTAGE in self.state.classes else []
        ended = {
            alarm_id(names[place], _rule(names[place]), began): at
            for place, (began, at) in outages.past.items()
        }
        for row, wait in zip(self._view.rows, self._view.wait.tolist(), strict=True):
            name = row.silence.teller.device_class
            alarm = self.state.classes[name].rules[row.silence.key].standing.get(row.place)
            if alarm is None or not alarm.latest.suppressed_by or alarm.latest.suppressed_by in standing:
                continue
            if self._now - ended.get(AlarmId(alarm.latest.suppressed_by), 0) <= max(
                _RELEASE_MS, _PERIODS * wait
            ):
                continue
            told = msgspec.structs.replace(
                alarm.latest, id=transition_id(alarm.latest.alarm, alarm.ordinal + 1), change=Change.RELEASED,
                suppressed_by="", time=self._now, judged=self._now,
            )  # fmt: skip
            row.silence.memory(self._part(name)).stand(row.place, Alarm(alarm.began, alarm.ordinal + 1, told))
            self.found.append(told)

    # -- which outage ----------------------------------------------------------------------------------

    def _parent(self, n: int) -> tuple[str, str]:
        """Return the level that the nth device's silence comes from, and the outage's alarm, if there is one."""
        if self._view.dark("agent", self._now)[n]:
            levels: tuple[str, ...] = ("area", "feeder", "site", "agent")
        else:  # its agent speaks of it
            levels = ("bus",) if self._view.link[n] else ()
        for level in levels:
            alarm = self._standing(f"{level}:{self._name(level, n)}")
            if alarm is not None:
                return level, alarm.latest.alarm
        found = [(level, dark) for level in levels if (dark := self._dark(level, n)) is not None]
        while len(found) > 1 and found[0][1].sum() == found[1][1].sum():
            found.pop(0)  # the narrower says as much
        if not found:
            return "device", ""
        level, dark = found[0]
        if dark.sum() == 1:
            return level, ""  # there is nothing to group
        return level, self._begin(level, self._name(level, n), dark)

    def _dark(self, level: str, n: int) -> NDArray[np.bool_] | None:
        """Return the dark devices of the nth one's group, None where the group as a whole is not."""
        view, group = self._view, int(self._view.groups[level][n])
        if group < 0:
            return None
        members = view.members(level, group)
        reference = "heard" if level == "bus" else "last"
        last = getattr(view, reference)
        since = int((last + view.wait)[members & view.due].max())
        alive = members & (last > since + _SLACK_MS)
        dark: NDArray[np.bool_] = members & ~alive & view.dark(level, self._now)
        if level in ("bus", "agent"):
            return None if alive.any() and level == "agent" else dark
        agents = view.groups["agent"]
        units = np.setdiff1d(agents[dark], agents[alive])
        if len(units) < 2 or alive.sum() > _ALIVE_SHARE * (alive.sum() + dark.sum()):
            return None
        return dark

    def _begin(self, level: str, name: str, dark: NDArray[np.bool_]) -> str:
        device, count = f"{level}:{name}", int(dark.sum())
        severity, zh, en = _LEVELS[level]
        last = self._view.heard if level == "bus" else self._view.last
        began = int(last[dark].max())
        part = self._part(OUTAGE)
        (place,) = part.places([device]).tolist()
        alarm, rule = alarm_id(device, _rule(device), began), RuleId(_rule(device))
        told = Transition(
            id=transition_id(alarm, 0), alarm=alarm, change=Change.BEGAN, device=DeviceId(device),
            device_class=OUTAGE, rule=rule, metric=MetricName(""), severity=severity, category=Category.FAULT,
            title=Text(f"{zh} {name} 失联：{count} 台设备", f"{en.capitalize()} {name} is silent: {count} devices"),
            time=began, judged=self._now, value=float(count), origin=level,
        )  # fmt: skip
        self._outages(writing=True).stand(place, Alarm(began, 0, told))
        self.found.append(told)
        return alarm

    def _standing(self, device: str) -> Alarm | None:
        part = self.state.classes.get(OUTAGE)
        if part is None or device not in part.devices:
            return None
        return self._outages().standing.get(part.devices[device])

    def _name(self, level: str, n: int) -> str:
        group = int(self._view.groups[level][n])
        return "" if group < 0 else self._topology.names(level)[group]

    def _number(self, level: str, name: str) -> int:
        names = self._topology.names(level)
        return names.index(name) if name in names else -2

    # -- the state -------------------------------------------------------------------------------------

    def _outages(self, *, writing: bool = False) -> RuleState:
        part = self.state.classes.get(OUTAGE)
        if writing or (part is not None and OUTAGE not in part.rules):
            part = self._part(OUTAGE)
        if part is None:
            return _NONE
        return part.rule(OUTAGE, OUTAGE, {}) if writing else part.rules[OUTAGE]

    def _part(self, name: str) -> ClassState:
        """Return one class's part of the next state."""
        if name not in self._mine:
            self.state, self._mine[name] = self.state.fork(name)
            if name == OUTAGE:
                self._mine[name].rule(OUTAGE, OUTAGE, {})
        return self._mine[name]


_NONE = RuleState.new(OUTAGE, {}, 0)


def _rule(device: str) -> str:
    return f"{OUTAGE}.{device.partition(':')[0]}"
