"""The engine: ``evaluate(state, frame, now) -> state, transitions``.

Three-valued: a sample is *known* when its quality is good and it has a value; everything else is unknown and
neither begins, worsens, eases nor ends an alarm, and leaves a running ``for_s`` as it is.  A sample older than
the newest that a rule has judged for the device is *late*: :mod:`rules.retrospect` judges it by itself.

Nothing here reads a clock: the same frames give the same transitions, live, in a backtest and after a restart.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

from rules.alarms import Moment, end
from rules.anomaly import Oddity
from rules.batch import Batch
from rules.judge import Judge
from rules.outage import OUTAGE, Outages
from rules.silence import Silence
from rules.state import State
from rules.topology import Topology
from rules.world import NEWEST, World, note_newest
from telemetry.errors import YemaiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from device_profiles.vocabulary import DeviceClass
    from rules.frame import Frame
    from rules.pack import RulePack
    from rules.state import ClassState, Journal
    from telemetry.transitions import Transition


_NO_RULES_FAULT = (YemaiError, OSError, MemoryError)  # what is mapped, or the machine's


class RuleFault(Exception):
    """A rule failed at what it was given; its ``__cause__`` says how."""

    def __init__(self, rule: str) -> None:
        super().__init__(f"rule '{rule}' failed")
        self.rule = rule


class Engine:
    """Judges frames by rule packs.

    What fails inside a rule is raised as :class:`RuleFault`; the rules ``without`` are left out, so that the others can
    go on.

    ``topology`` tells where devices hang; without it nothing is known of sites, agents and periods.  It may be set
    anew between two calls.
    """

    def __init__(
        self, packs: Sequence[RulePack], classes: Mapping[str, DeviceClass], topology: Topology | None = None
    ) -> None:
        self.topology = topology or Topology()
        self._judges: dict[str, list[Judge | Oddity]] = {}
        self._silences: dict[str, list[Silence]] = {}
        for pack in packs:
            for rule in pack.rules:
                if rule.no_data is not None:
                    silence = Silence(rule, classes[pack.device_class], shadow=pack.shadow)
                    self._silences.setdefault(pack.device_class, []).append(silence)
                elif rule.anomaly is not None:
                    oddity = Oddity(rule, classes[pack.device_class], shadow=pack.shadow)
                    self._judges.setdefault(pack.device_class, []).append(oddity)
                else:
                    judge = Judge(rule, classes[pack.device_class], classes, shadow=pack.shadow)
                    self._judges.setdefault(pack.device_class, []).append(judge)
        self._outages = Outages(self._silences)
        judges, silences = chain(*self._judges.values()), chain(*self._silences.values())
        self._known = {judge.key for judge in judges} | {silence.key for silence in silences} | {NEWEST}
        self._asked = _asked(chain(*self._judges.values()), classes)

    def together(self, names: Iterable[str]) -> set[str]:
        """Return ``names`` and all classes whose rules ask for metrics of them, or are asked by them.

        Their states belong to one moment: who keeps one keeps all of them.
        """
        found = set(names)
        links = [(own, other) for own, js in self._judges.items() for j in js for other, _ in j.metrics_asked]
        while more := {name for link in links if found & set(link) for name in link} - found:
            found |= more
        return found

    def rules_of(self, device_class: str) -> frozenset[str]:
        """Return the rules that judge frames of a class."""
        judges, silences = self._judges.get(device_class, ()), self._silences.get(device_class, ())
        return frozenset(rule.key for rule in (*judges, *silences))

    def evaluate(
        self,
        state: State,
        frame: Frame,
        now_ms: int,
        journal: Journal | None = None,
        without: frozenset[str] = frozenset(),
    ) -> tuple[State, list[Transition]]:
        """Return the state after ``frame``, and what changed.  ``state`` itself stays as it was, or does once ``journal`` is undone.

        The transitions of one alarm come in order.  A value of NaN is unknown, whatever its quality.
        """
        judges = self._judges.get(frame.device_class, ())
        silences = self._silences.get(frame.device_class, ())
        asked = self._asked.get(frame.device_class)
        if not (judges or silences or asked) or not len(frame):
            return state, []
        state, part = state.fork(frame.device_class, journal)
        batch = Batch(frame, part.places(frame.devices))
        if asked:
            note_newest(part, batch, asked)
        world = World(state, self.topology)
        found: list[Transition] = []
        key = ""
        try:  # once around all: this is done for every frame
            for judge in judges:
                if (key := judge.key) not in without:
                    found += judge.evaluate(part, batch, world, now_ms)
            for silence in silences:
                if (key := silence.key) not in without:
                    found += silence.evaluate(part, batch, now_ms)
        except _NO_RULES_FAULT:
            raise
        except Exception as error:
            raise RuleFault(key) from error
        return state, found

    def tick(
        self, state: State, now_ms: int, without: frozenset[str] = frozenset()
    ) -> tuple[State, list[Transition]]:
        """Let time pass: return which devices have fallen silent.

        Also ends the alarms that nobody would ever end: those of rules that are in no pack any more, and of
        devices that :meth:`expect` no longer named.  A running ``for_s`` is not judged here but at samples:
        between samples nothing is known.
        """
        found: list[Transition] = []
        for name, old in state.classes.items():
            if name == OUTAGE:
                continue
            vanished = old.rules.keys() - self._known
            orphaned = old.retired or any(old.rules[rule].standing for rule in vanished)
            silent = []
            for silence in self._silences.get(name, ()):
                if not silence.is_grouped and silence.key not in without:
                    with _blamed(silence.key):
                        silent += [silence] if silence.is_due(old, now_ms) else []
            if not orphaned and not silent:
                continue
            state, part = state.fork(name)
            found += _let_go(part, vanished, now_ms)
            for silence in silent:
                with _blamed(silence.key):
                    found += silence.tick(part, now_ms)
        if OUTAGE in without:
            return state, found
        with _blamed(OUTAGE):
            state, grouped = self._group(state, now_ms)
        return state, found + grouped

    def _group(self, state: State, now_ms: int) -> tuple[State, list[Transition]]:
        """Tell of the silences that may have one cause."""
        missed = any(
            silence.is_due(part, now_ms)
            for name, part in state.classes.items()
            for silence in self._silences.get(name, ())
        )
        if missed or not self._outages.is_quiet(state):
            return self._outages.tick(state, self.topology, now_ms)
        return state, []

    def expect(
        self, state: State, devices: Mapping[str, str], now_ms: int, without: frozenset[str] = frozenset()
    ) -> State:
        """Return the state that waits for ``devices`` (id → class) from now on: all that are registered.

        Called when the platform starts: its own silence is not the devices', so each device that is not
        already missed gets the whole waiting time again.  A device not named is not waited for, and
        :meth:`tick` ends its alarms.
        """
        by_class: dict[str, list[str]] = {name: [] for name in state.classes if name != OUTAGE}
        for device, name in devices.items():
            by_class.setdefault(name, []).append(device)
        for name, mine in by_class.items():
            state, part = state.fork(name)
            places = part.places(mine)
            part.retired = frozenset(part.devices.keys() - set(mine)) & _alarmed(part)
            for silence in self._silences.get(name, ()):
                if silence.key not in without:
                    with _blamed(silence.key):
                        silence.expect(part, places, self.topology, now_ms)
        return state

    def active(self, state: State, *, shadow: bool = False) -> list[Transition]:
        """Return the latest transition of each standing alarm, to be asserted again; or those of the shadows."""
        return [
            alarm.latest
            for part in state.classes.values()
            for memory in part.rules.values()
            for alarm in memory.standing.values()
            if alarm.latest.shadow == shadow
        ]


@contextmanager
def _blamed(rule: str) -> Iterator[None]:
    """Say whose fault it is; what is mapped, or of the machine, is nobody's."""
    try:
        yield
    except _NO_RULES_FAULT:
        raise
    except Exception as error:
        raise RuleFault(rule) from error


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


def _asked(judges: Iterable[Judge | Oddity], classes: Mapping[str, DeviceClass]) -> dict[str, dict[str, int]]:
    """Return the columns that rules ask of other devices, by class and metric."""
    found: dict[str, dict[str, int]] = {}
    for judge in judges:
        for name, metric in judge.metrics_asked:
            found.setdefault(name, {})[metric] = list(classes[name].metrics).index(metric)
    return found
