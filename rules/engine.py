"""The engine: ``evaluate(state, frame, now) -> state, transitions``.

Three-valued: a sample is *known* when its quality is good and it has a value; everything else is unknown and
neither begins, worsens, eases nor ends an alarm, and leaves a running ``for_s`` as it is.  A sample older than
the newest that a rule has judged for the device is *late*: it is judged by itself, and what it finds is
marked retrospective.

Nothing here reads a clock: the same frames give the same transitions, live, in a backtest and after a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rules.state import NEVER, ClassState, RuleState, State
from telemetry.quality import UNCERTAIN_FROM
from telemetry.readings import DeviceId, MetricName
from telemetry.severity import Severity
from telemetry.transitions import Category, Change, RuleId, Transition, alarm_id, transition_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from device_profiles.vocabulary import DeviceClass
    from rules.frame import Frame
    from rules.pack import Rule, RulePack


class Engine:
    """Judges frames by rule packs."""

    def __init__(self, packs: Sequence[RulePack], classes: Mapping[str, DeviceClass]) -> None:
        self._classes = classes
        self._rules = {pack.device_class: pack.rules for pack in packs}

    def evaluate(self, state: State, frame: Frame, now_ms: int) -> tuple[State, list[Transition]]:
        """Return the state after ``frame``, and what changed.  ``state`` itself stays as it was."""
        rules = self._rules.get(frame.device_class, ())
        if not rules or not len(frame):
            return state, []
        state, part = state.own(frame.device_class)
        places = part.places(frame.devices)
        found: list[Transition] = []
        for rows in frame.rounds():
            for rule in rules:
                found += self._judge(part, rule, frame, rows, places[frame.index[rows]], now_ms)
        return state, found

    def tick(self, state: State, now_ms: int) -> tuple[State, list[Transition]]:
        """Let time pass: return which devices have fallen silent."""
        found: list[Transition] = []
        for device_class, rules in self._rules.items():
            for rule in rules:
                if rule.no_data is None or device_class not in state.classes:
                    continue
                old = state.classes[device_class].rules.get(rule.id)
                if old is None:
                    continue
                silent = (old.columns["reference_at"] >= 0) & (old.columns["level"] == 0)
                silent &= now_ms - old.columns["reference_at"] > rule.no_data.after_s * 1000
                if not silent.any():
                    continue
                state, part = state.own(device_class)
                mine, level = part.rules[rule.id], Severity.parse(rule.no_data.severity)
                names = list(part.devices)
                for place in np.flatnonzero(silent):
                    heard = int(mine.columns["reference_at"][place])
                    found.append(
                        _begin(
                            mine,
                            rule,
                            names[place],
                            device_class,
                            int(place),
                            level,
                            heard,
                            heard,
                            None,
                            now_ms,
                            "",
                        )
                    )
        return state, found

    def expect(self, state: State, devices: Mapping[str, str], now_ms: int) -> State:
        """Return the state that waits for ``devices`` (id → class) from now on.

        Called when the platform starts: its own silence is not the devices', so each device that is not
        already missed gets the whole waiting time again.
        """
        for device_class, rules in self._rules.items():
            mine = [device for device, name in devices.items() if name == device_class]
            if not mine:
                continue
            state, part = state.own(device_class)
            places = part.places(mine)
            for rule in rules:
                if rule.no_data is not None:
                    columns = part.rule(rule.id, 1).columns
                    well = places[columns["level"][places] == 0]
                    columns["reference_at"][well] = now_ms
        return state

    def active(self, state: State) -> list[Transition]:
        """Return the latest transition of each standing alarm, to be asserted again."""
        standing = []
        for device_class, part in state.classes.items():
            names = list(part.devices)
            for rule in self._rules.get(device_class, ()):
                if (mine := part.rules.get(rule.id)) is None:
                    continue
                unit = self._unit(device_class, rule)
                standing += [
                    _transition(mine, rule, names[place], device_class, int(place), Change.BEGAN, unit)
                    for place in np.flatnonzero(mine.columns["level"])
                ]
        return standing

    # -- one rule ------------------------------------------------------------------------------------

    def _judge(
        self,
        part: ClassState,
        rule: Rule,
        frame: Frame,
        rows: NDArray[np.intp],
        places: NDArray[np.intp],
        now_ms: int,
    ) -> list[Transition]:
        names = [frame.devices[i] for i in frame.index[rows]]
        mine = part.rule(rule.id, max(1, len(rule.limits)))
        if rule.no_data is not None:
            known = (frame.quality[rows] < UNCERTAIN_FROM).any(axis=1)
            mine.columns["reference_at"][places[known]] = now_ms
            back = known & (mine.columns["level"][places] > 0)
            return [
                _end(
                    mine,
                    rule,
                    names[i],
                    frame.device_class,
                    int(places[i]),
                    int(frame.time[rows[i]]),
                    None,
                    now_ms,
                    "",
                )
                for i in np.flatnonzero(back)
            ]
        column = list(self._classes[frame.device_class].metrics).index(rule.metric)
        values, times = frame.values[rows, column], frame.time[rows]
        known = (frame.quality[rows, column] < UNCERTAIN_FROM) & np.isfinite(values)
        if not known.any():
            return []
        unit, judged = self._unit(frame.device_class, rule), mine.columns["judged"]
        late = known & (times <= judged[places])
        fresh = np.flatnonzero(known & ~late)
        judged[places[fresh]] = times[fresh]
        found: list[Transition] = []
        if len(fresh):
            reach = _stuck if rule.stuck is not None else _limits
            level = reach(rule, mine, places[fresh], values[fresh], times[fresh])
            for i in np.flatnonzero(level != mine.columns["level"][places[fresh]]):
                row, place = fresh[i], int(places[fresh[i]])
                found.append(
                    _change(
                        mine,
                        rule,
                        names[row],
                        frame.device_class,
                        place,
                        int(level[i]),
                        int(times[row]),
                        float(values[row]),
                        now_ms,
                        unit,
                    )
                )
        if late.any() and rule.stuck is None:
            found += _retrospect(
                rule, mine, names, places, values, times, late, frame.device_class, now_ms, unit
            )
        return found

    def _unit(self, device_class: str, rule: Rule) -> str:
        return self._classes[device_class].metrics[rule.metric].unit if rule.metric else ""


def _limits(
    rule: Rule,
    mine: RuleState,
    places: NDArray[np.intp],
    values: NDArray[np.float64],
    times: NDArray[np.int64],
) -> NDArray[np.int8]:
    """The severity that each device has reached, 0 for none; keeps since when each step holds."""
    level = np.zeros(len(places), np.int8)
    standing = mine.columns["level"][places]
    for step, (severity, limit) in enumerate(rule.limits.items()):
        beyond = _beyond(rule, values, limit)
        if rule.gap:
            beyond |= (standing >= severity) & _beyond(
                rule, values, limit - rule.gap if rule.above else limit + rule.gap
            )
        since = mine.since[step, places]
        since = np.where(beyond, np.where(since == NEVER, times, since), NEVER)
        mine.since[step, places] = since
        level[beyond & (times - since >= rule.for_s * 1000)] = severity
    return level


def _beyond(rule: Rule, values: NDArray[np.float64], limit: float) -> Any:
    if rule.above:
        return values > limit
    if rule.below:
        return values < limit
    return values == limit


def _stuck(
    rule: Rule,
    mine: RuleState,
    places: NDArray[np.intp],
    values: NDArray[np.float64],
    times: NDArray[np.int64],
) -> NDArray[np.int8]:
    if rule.stuck is None:
        return np.zeros(len(places), np.int8)
    reference, since = mine.columns["reference"], mine.columns["reference_at"]
    moved = ~(np.abs(values - reference[places]) <= rule.stuck.within)
    reference[places[moved]], since[places[moved]] = values[moved], times[moved]
    mine.since[0, places] = since[places]
    rested = times - since[places] >= rule.stuck.after_s * 1000
    return np.where(rested, Severity.parse(rule.stuck.severity), 0).astype(np.int8)


def _change(
    mine: RuleState,
    rule: Rule,
    device: str,
    device_class: str,
    place: int,
    level: int,
    time: int,
    value: float,
    now_ms: int,
    unit: str,
) -> Transition:
    if level == 0:
        return _end(mine, rule, device, device_class, place, time, value, now_ms, unit)
    if mine.columns["level"][place] == 0:
        # The mildest step that holds began first: the alarm began then, whatever severity it has reached now.
        sinces = [int(s) for s in mine.since[:, place] if s != NEVER]
        return _begin(
            mine,
            rule,
            device,
            device_class,
            place,
            Severity(level),
            min(sinces, default=time),
            time,
            value,
            now_ms,
            unit,
        )
    change = Change.WORSENED if level > mine.columns["level"][place] else Change.EASED
    _note(mine, place, level, int(mine.columns["ordinal"][place]) + 1, time, value)
    return _transition(mine, rule, device, device_class, place, change, unit, now_ms)


def _begin(
    mine: RuleState, rule: Rule, device: str, device_class: str, place: int, level: Severity, began: int, time: int,
    value: float | None, now_ms: int, unit: str,
) -> Transition:  # fmt: skip
    mine.columns["began"][place] = began
    _note(mine, place, level, 0, time, value)
    return _transition(mine, rule, device, device_class, place, Change.BEGAN, unit, now_ms)


def _end(
    mine: RuleState,
    rule: Rule,
    device: str,
    device_class: str,
    place: int,
    time: int,
    value: float | None,
    now_ms: int,
    unit: str,
) -> Transition:
    _note(
        mine, place, int(mine.columns["level"][place]), int(mine.columns["ordinal"][place]) + 1, time, value
    )
    ended = _transition(mine, rule, device, device_class, place, Change.ENDED, unit, now_ms)
    mine.columns["level"][place] = 0
    mine.columns["began"][place] = NEVER
    mine.since[:, place] = NEVER
    return ended


def _note(mine: RuleState, place: int, level: int, ordinal: int, time: int, value: float | None) -> None:
    mine.columns["level"][place] = level
    mine.columns["ordinal"][place] = ordinal
    mine.columns["changed"][place] = time
    mine.columns["value"][place] = np.nan if value is None else value


def _transition(
    mine: RuleState,
    rule: Rule,
    device: str,
    device_class: str,
    place: int,
    change: Change,
    unit: str,
    now_ms: int | None = None,
) -> Transition:
    """The transition that the state at ``place`` tells of; ``active`` has no other memory than that."""
    severity, value = Severity(int(mine.columns["level"][place])), float(mine.columns["value"][place])
    began, ordinal = int(mine.columns["began"][place]), int(mine.columns["ordinal"][place])
    changed = int(mine.columns["changed"][place])
    alarm = alarm_id(device, rule.id, began)
    return Transition(
        id=transition_id(alarm, ordinal), alarm=alarm, change=change if ordinal == 0 or change is not Change.BEGAN else Change.WORSENED,
        device=DeviceId(device), device_class=device_class, rule=RuleId(rule.id), metric=MetricName(rule.metric), severity=severity,
        category=Category.FAULT if rule.no_data or rule.stuck else rule.category, title=rule.title,
        time=changed if ordinal else began, judged=changed if now_ms is None else now_ms,
        value=None if np.isnan(value) else value, limit=rule.limits.get(severity), unit=unit,
    )  # fmt: skip


def _retrospect(
    rule: Rule, mine: RuleState, names: list[str], places: NDArray[np.intp], values: NDArray[np.float64],
    times: NDArray[np.int64], late: NDArray[np.bool_], device_class: str, now_ms: int, unit: str,
) -> list[Transition]:  # fmt: skip
    """What late samples tell by themselves: an alarm that began and ended then, and pages no one."""
    found = []
    for i in np.flatnonzero(late):
        place, time, value = int(places[i]), int(times[i]), float(values[i])
        known_then = mine.columns["level"][place] > 0 and mine.columns["began"][place] <= time
        reached = [s for s, limit in rule.limits.items() if _beyond(rule, values[i : i + 1], limit)[0]]
        if known_then or not reached or rule.for_s or time == int(mine.columns["judged"][place]):
            continue
        alarm = alarm_id(names[i], rule.id, time)
        for ordinal, change in enumerate((Change.BEGAN, Change.ENDED)):
            found.append(
                Transition(
                    id=transition_id(alarm, ordinal),
                    alarm=alarm,
                    change=change,
                    device=DeviceId(names[i]),
                    device_class=device_class,
                    rule=RuleId(rule.id),
                    metric=MetricName(rule.metric),
                    severity=reached[-1],
                    category=rule.category,
                    title=rule.title,
                    time=time,
                    judged=now_ms,
                    value=value,
                    limit=rule.limits[reached[-1]],
                    unit=unit,
                    retrospective=True,
                )
            )
    return found
