"""The engine: ``evaluate(state, frame, now) -> state, transitions``.

Three-valued: a sample is *known* when its quality is good and it has a value; everything else is unknown and
neither begins, worsens, eases nor ends an alarm, and leaves a running ``for_s`` as it is.  A sample older than
the newest that a rule has judged for the device is *late*: :mod:`rules.retrospect` judges it by itself.

Nothing here reads a clock: the same frames give the same transitions, live, in a backtest and after a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rules.alarms import Moment, Teller, end
from rules.anomaly import Oddity
from rules.batch import Batch
from rules.conditions import condition_of
from rules.retrospect import retrospect
from rules.silence import Silence
from rules.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from device_profiles.vocabulary import DeviceClass
    from rules.conditions import Condition
    from rules.frame import Frame
    from rules.pack import Rule, RulePack
    from rules.state import ClassState
    from telemetry.transitions import Transition


class Engine:
    """Judges frames by rule packs."""

    def __init__(self, packs: Sequence[RulePack], classes: Mapping[str, DeviceClass]) -> None:
        self._limits: dict[str, list[_Judge | Oddity]] = {}
        self._silences: dict[str, list[Silence]] = {}
        for pack in packs:
            for rule in pack.rules:
                if rule.anomaly is not None:
                    oddity = Oddity(rule, classes[pack.device_class])
                    self._limits.setdefault(pack.device_class, []).append(oddity)
                    continue
                condition = condition_of(rule)
                if condition is None:
                    self._silences.setdefault(pack.device_class, []).append(Silence(rule, pack.device_class))
                else:
                    judge = _Judge(rule, condition, classes[pack.device_class])
                    self._limits.setdefault(pack.device_class, []).append(judge)
        self._known = {rule.id for pack in packs for rule in pack.rules}

    def evaluate(self, state: State, frame: Frame, now_ms: int) -> tuple[State, list[Transition]]:
        """Return the state after ``frame``, and what changed.  ``state`` itself stays as it was.

        The transitions of one alarm come in order.  A value of NaN is unknown, whatever its quality.
        """
        limits = self._limits.get(frame.device_class, ())
        silences = self._silences.get(frame.device_class, ())
        if not (limits or silences) or not len(frame):
            return state, []
        state, part = state.fork(frame.device_class)
        batch = Batch.of(frame, part.places(frame.devices))
        found: list[Transition] = []
        for judge in limits:
            found += judge.evaluate(part, batch, now_ms)
        for silence in silences:
            found += silence.evaluate(part, frame, batch.places, now_ms)
        return state, found

    def tick(self, state: State, now_ms: int) -> tuple[State, list[Transition]]:
        """Let time pass: return which devices have fallen silent.

        Also ends the alarms that nobody would ever end: those of rules that are in no pack any more, and of
        devices that :meth:`expect` no longer named.  A running ``for_s`` is not judged here but at samples:
        between samples nothing is known.
        """
        found: list[Transition] = []
        for name, old in state.classes.items():
            vanished = old.rules.keys() - self._known
            orphaned = old.retired or any(old.rules[rule].standing for rule in vanished)
            silent = [silence for silence in self._silences.get(name, ()) if silence.is_due(old, now_ms)]
            if not orphaned and not silent:
                continue
            state, part = state.fork(name)
            found += _let_go(part, vanished, now_ms)
            for silence in silent:
                found += silence.tick(part, now_ms)
        return state, found

    def expect(self, state: State, devices: Mapping[str, str], now_ms: int) -> State:
        """Return the state that waits for ``devices`` (id → class) from now on: all that are registered.

        Called when the platform starts: its own silence is not the devices', so each device that is not
        already missed gets the whole waiting time again.  A device not named is not waited for, and
        :meth:`tick` ends its alarms.
        """
        by_class: dict[str, list[str]] = {name: [] for name in state.classes}
        for device, name in devices.items():
            by_class.setdefault(name, []).append(device)
        for name, mine in by_class.items():
            state, part = state.fork(name)
            places = part.places(mine)
            part.retired = frozenset(part.devices.keys() - set(mine)) & _alarmed(part)
            for silence in self._silences.get(name, ()):
                silence.expect(part, places, now_ms)
        return state

    def active(self, state: State) -> list[Transition]:
        """Return the latest transition of each standing alarm, to be asserted again."""
        return [
            alarm.latest
            for part in state.classes.values()
            for memory in part.rules.values()
            for alarm in memory.standing.values()
        ]


class _Judge:
    """One rule with a condition."""

    def __init__(self, rule: Rule, condition: Condition, device_class: DeviceClass) -> None:
        self._id, self._condition = rule.id, condition
        self._column = list(device_class.metrics).index(rule.metric)
        # What a memory is good for: the same condition on the same metric.
        self._basis = f"{rule.metric} {condition.basis}"
        self._teller = Teller(rule, device_class.name, device_class.metrics[rule.metric].unit, condition)

    def evaluate(self, part: ClassState, batch: Batch, now_ms: int) -> list[Transition]:
        """Judge all rows of a frame, round by round."""
        memory = part.rule(self._id, self._basis, self._condition.columns)
        batch = batch.of_metric(self._column)
        if not batch.known.any():
            return []
        late = batch.known & (batch.time < memory.take("judged", batch.places))
        found: list[Transition] = []
        for rows in batch.rounds:
            before = memory.take("judged", batch.places[rows])
            fresh = batch.known[rows] & (batch.time[rows] > before)  # the rest is late, or there already
            seen, names = batch.seen(memory, rows[fresh])
            found += self._teller.sweep(memory, seen, names, now_ms)
        if late.any():
            found += retrospect(self._teller, memory, batch.only(late), now_ms)
        return found


def _alarmed(part: ClassState) -> set[str]:
    places = {place for memory in part.rules.values() for place in memory.standing}
    return {device for device, place in part.devices.items() if place in places} if places else set()


def _let_go(part: ClassState, vanished: set[str], now_ms: int) -> list[Transition]:
    """End the alarms of rules and devices that are no more."""
    found = []
    places = {part.devices[device] for device in part.retired}
    for rule, memory in part.rules.items():
        for place, alarm in list(memory.standing.items()):
            if rule in vanished or place in places:
                found.append(end(memory, Moment(place, alarm.latest.device, now_ms, None, now_ms), alarm))
    for rule in vanished:
        del part.rules[rule]
    part.retired = frozenset()
    return found
